// Everything about Patroni's REST API at once; each header below owns one question.
#pragma once

#include "wire/rest_cluster.h"     // GET /cluster, GET /history
#include "wire/rest_health.h"      // routing, health checks
#include "wire/rest_metrics.h"     // GET /metrics
#include "wire/rest_requests.h"    // bodies of what changes something
#include "wire/rest_status.h"      // GET /patroni
#include "wire/rest_switchover.h"  // POST /switchover, /failover
