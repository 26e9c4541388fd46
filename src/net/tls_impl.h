// The inside of TlsContext, for stream.cpp.
#pragma once

#include <boost/asio/ssl/context.hpp>

#include "net/tls.h"

namespace pgdba::net {

struct TlsContext::Impl {
  explicit Impl(boost::asio::ssl::context::method method) : context(method) {}
  boost::asio::ssl::context context;
  bool verify = true;
};

}  // namespace pgdba::net
