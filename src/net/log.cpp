#include "net/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/text.h"

namespace pgdba::log {
namespace {

using Clock = spdlog::log_clock;
using Sinks = std::vector<std::shared_ptr<spdlog::sinks::sink>>;

struct Line {
  Clock::time_point time;
  Level level = Level::info;
  std::string component;
  std::string message;
  bool fatal = false;
};

// How lines look, and where they go: replaced as a whole by init().
struct Output {
  Sinks sinks;
  std::optional<LineFormat> format;
  std::string date_format;
  bool pgbouncer = false;
};

std::string_view level_name(Level level) {
  switch (level) {
    case Level::trace: return "TRACE";
    case Level::debug: return "DEBUG";
    case Level::info: return "INFO";
    case Level::warning: return "WARNING";
    case Level::error: return "ERROR";
    case Level::off: break;
  }
  return "";
}

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::trace: return spdlog::level::trace;
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
    case Level::off: break;
  }
  return spdlog::level::off;
}

// Python's numbers.
int level_number(Level level) {
  switch (level) {
    case Level::trace: return 5;
    case Level::debug: return 10;
    case Level::info: return 20;
    case Level::warning: return 30;
    case Level::error: return 40;
    case Level::off: break;
  }
  return 0;
}

std::string moment(const std::string& format, int64_t ms, bool utc) {
  const time_t seconds = static_cast<time_t>(ms / 1000);
  tm parts{};
  if (utc) {
    gmtime_r(&seconds, &parts);
  } else {
    localtime_r(&seconds, &parts);
  }
  char text[200];
  return std::string(text, std::strftime(text, sizeof text, format.c_str(), &parts));
}

// PgBouncer's words.
std::string_view pgbouncer_level(const Line& line) {
  if (line.fatal) return "FATAL";
  switch (line.level) {
    case Level::trace: return "NOISE";
    case Level::debug: return "DEBUG";
    case Level::info: return "LOG";
    case Level::warning: return "WARNING";
    default: return "ERROR";
  }
}

std::string format(const Output& output, const Line& line) {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(line.time.time_since_epoch()).count();
  if (output.pgbouncer) {
    const std::string who = line.component == "pooler" ? "" : line.component + ": ";
    return fmt::format("{}.{:03} {} [{}] {} {}{}", moment("%Y-%m-%d %H:%M:%S", ms, false), ms % 1000, moment("%Z", ms, false), ::getpid(),
                       pgbouncer_level(line), who, printable(line.message));
  }
  if (!output.format) {
    return fmt::format("{}.{:03}Z {:<7} {}: {}", moment("%Y-%m-%dT%H:%M:%S", ms, true), ms % 1000, level_name(line.level), line.component,
                       printable(line.message));
  }
  LogRecord record;
  record.asctime = output.date_format.empty() ? fmt::format("{},{:03}", moment("%Y-%m-%d %H:%M:%S", ms, false), ms % 1000)
                                              : moment(output.date_format, ms, false);
  record.level = level_name(line.level);
  record.level_number = level_number(line.level);
  record.component = line.component;
  record.message = line.message;
  record.created_ms = ms;
  record.process = ::getpid();
  return format_line(*output.format, record);
}

// spdlog only adds the line's end.
std::unique_ptr<spdlog::formatter> line_format() {
  return std::make_unique<spdlog::pattern_formatter>("%v");
}

std::shared_ptr<spdlog::sinks::sink> stderr_sink() {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_formatter(line_format());
  return sink;
}

int facility_of(std::string_view name) {
  static const std::map<std::string_view, int> kNames = {
      {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},     {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},
      {"kern", LOG_KERN},     {"lpr", LOG_LPR},           {"mail", LOG_MAIL},     {"news", LOG_NEWS},     {"syslog", LOG_SYSLOG},
      {"user", LOG_USER},     {"uucp", LOG_UUCP},         {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2},
      {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7}};
  auto found = kNames.find(name);
  return found == kNames.end() ? LOG_DAEMON : found->second;
}

// Never destroyed: a task may log while the program exits, and a helper thread that is stuck in a full pipe must not
// be waited for.
struct Writer {
  std::atomic<Level> level{Level::info};
  std::atomic<uint64_t> dropped{0};

  std::mutex mutex;  // of everything below
  std::condition_variable work, drained;
  std::deque<Line> waiting;
  std::shared_ptr<const Output> output = std::make_shared<Output>(Output{{stderr_sink()}, {}, {}, false});
  size_t most_waiting = 1024;
  bool background = false;
  bool has_thread = false;
  bool writing = false;
  uint64_t reported = 0;

  static Writer& get() {
    static Writer* writer = new Writer;
    return *writer;
  }

  static void write_to(const Output& output, const Line& line) {
    const std::string text = format(output, line);
    spdlog::details::log_msg message(line.time, {}, {}, spdlog_level(line.level), text);
    for (const auto& sink : output.sinks) {
      try {
        sink->log(message);
        sink->flush();
      } catch (const std::exception&) {
        // A full disk must not stop the program; the other sinks get the line.
      }
    }
  }

  void submit(Line line) {
    std::unique_lock lock(mutex);
    if (!background) {
      auto now = output;
      lock.unlock();
      write_to(*now, line);
      return;
    }
    if (waiting.size() >= most_waiting) {
      waiting.pop_front();
      ++dropped;
    }
    waiting.push_back(std::move(line));
    work.notify_one();
  }

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      work.wait(lock, [&] { return !waiting.empty(); });
      Line line = std::move(waiting.front());
      waiting.pop_front();
      auto now = output;
      uint64_t lost = dropped - reported;
      reported += lost;
      writing = true;
      lock.unlock();
      if (lost != 0) {
        write_to(*now, {line.time, Level::warning, "log", fmt::format("lines were dropped count={}", lost), false});
      }
      write_to(*now, line);
      lock.lock();
      writing = false;
      if (waiting.empty()) drained.notify_all();
    }
  }
};

}  // namespace

Result<void> init(const Options& options) {
  Sinks sinks;
  if (options.to_stderr) sinks.push_back(stderr_sink());
  if (!options.dir.empty()) {
    try {
      std::filesystem::create_directories(options.dir);
      spdlog::file_event_handlers events;
      if (options.file_mode) {
        // Also the next one after a rotation.
        events.after_open = [mode = static_cast<mode_t>(*options.file_mode)](const spdlog::filename_t&, std::FILE* file) {
          (void)::fchmod(::fileno(file), mode);
        };
      }
      auto file = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          options.dir + "/" + options.file, std::max<size_t>(options.file_bytes, 4096),
          static_cast<size_t>(std::max(options.file_count, 0)), false, events);
      file->set_formatter(line_format());
      sinks.push_back(std::move(file));
    } catch (const std::exception& problem) {
      return fail(Errc::invalid, fmt::format("cannot log to {}: {}", options.dir, problem.what()));
    }
  }
  if (!options.path.empty()) {
    try {
      auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.path);
      file->set_formatter(line_format());
      sinks.push_back(std::move(file));
    } catch (const std::exception&) {
      return fail(Errc::invalid, fmt::format("could not open log file \"{}\": {}", options.path, std::strerror(errno)));
    }
  }
  if (!options.syslog_ident.empty()) {
    // Before the new sink opens the log, the old one must have closed it, which would close the new one's.
    {
      std::lock_guard lock(Writer::get().mutex);
      Writer::get().output = std::make_shared<Output>(Output{sinks, options.format, options.date_format, options.pgbouncer});
    }
    sinks.push_back(std::make_shared<spdlog::sinks::syslog_sink_mt>(options.syslog_ident, LOG_PID, facility_of(options.syslog_facility), false));
  }
  Writer& writer = Writer::get();
  std::lock_guard lock(writer.mutex);
  writer.level = options.level;
  writer.output = std::make_shared<Output>(Output{std::move(sinks), options.format, options.date_format, options.pgbouncer});
  writer.most_waiting = std::max<size_t>(options.most_waiting, 1);
  writer.background = options.background;
  if (options.background && !writer.has_thread) {
    writer.has_thread = true;
    std::thread([] { Writer::get().run(); }).detach();
    std::atexit([] { flush(); });
  }
  return {};
}

void set_level(Level level) { Writer::get().level = level; }
Level level() { return Writer::get().level; }
bool enabled(Level level) { return level >= Writer::get().level.load(std::memory_order_relaxed); }
uint64_t dropped() { return Writer::get().dropped; }

void flush() {
  Writer& writer = Writer::get();
  std::unique_lock lock(writer.mutex);
  writer.drained.wait_for(lock, std::chrono::seconds(1), [&] { return writer.waiting.empty() && !writer.writing; });
}

Result<Level> parse_level(std::string_view text) {
  std::string name = lower(text);
  if (name == "trace") return Level::trace;
  if (name == "debug" || name == "notset") return Level::debug;
  if (name == "info") return Level::info;
  if (name == "warning" || name == "warn") return Level::warning;
  if (name == "error" || name == "critical" || name == "fatal") return Level::error;
  if (name == "off") return Level::off;
  return fail(Errc::invalid, fmt::format("\"{}\" is no log level (trace, debug, info, warning, error, off)", text));
}

std::string quoted(std::string_view text) {
  bool plain = !text.empty();
  for (char c : text) plain = plain && c > ' ' && c != '"' && c != '=' && c != 0x7f;
  if (plain) return std::string(text);
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

void write(Level level, std::string_view component, std::string_view message) {
  Writer::get().submit({Clock::now(), level, std::string(component), std::string(message), false});
}

void fatal(std::string_view component, std::string_view message) {
  Writer::get().submit({Clock::now(), Level::error, std::string(component), std::string(message), true});
}

}  // namespace pgdba::log
