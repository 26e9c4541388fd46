// What the .cpp files of net/ share on top of Asio. Never included by a header that others see.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "net/clock.h"
#include "net/loop.h"
#include "net/task.h"

namespace pgdba::net {

namespace asio = boost::asio;
using boost::system::error_code;

// co_await socket.async_read_some(buffer, as_result) gives [error_code, size]. A cancelled wait returns, too, with
// operation_aborted: go on through checkpoint().
inline constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

// Asio's timers on CLOCK_BOOTTIME. The kernel's timer below counts CLOCK_MONOTONIC, so Asio is told to look again
// after a second at the latest: after a suspend a timer fires at most that late.
struct AsioBootClock {
  using rep = BootClock::rep;
  using period = BootClock::period;
  using duration = Duration;
  using time_point = BootTime;
  static constexpr bool is_steady = true;
  static time_point now() { return boot_now(); }
};
struct AsioBootWait {
  static Duration to_wait_duration(const Duration& d) { return std::min<Duration>(d, 1s); }
  static Duration to_wait_duration(const BootTime& t) {
    BootTime now = boot_now();
    return t <= now ? Duration::zero() : t - now < 1s ? t - now : Duration(1s);
  }
};
using Timer = asio::basic_waitable_timer<AsioBootClock, AsioBootWait>;

// Awaiting anything unwinds a cancelled task; awaiting this does nothing else.
inline Task<void> checkpoint() { co_return; }

inline Error error_from(const error_code& ec, Errc code, std::string_view what) {
  return Error{code, std::string(what) + ": " + ec.message()};
}

}  // namespace pgdba::net
