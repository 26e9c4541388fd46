// The watch of store.h on etcd: a task of its own that keeps one stream open, on whichever endpoint works.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dcs/calls.h"
#include "dcs/store.h"

namespace pgdba::dcs {

std::unique_ptr<Watch> make_watch(std::shared_ptr<Calls> calls, std::string prefix, int64_t after_revision);

}  // namespace pgdba::dcs
