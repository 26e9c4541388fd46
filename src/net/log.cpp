#include "net/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/text.h"

namespace pgdba::log {
namespace {

constexpr size_t max_waiting_lines = 1024;
using Clock = spdlog::log_clock;
using Sinks = std::vector<std::shared_ptr<spdlog::sinks::sink>>;

struct Line {
  Clock::time_point time;
  spdlog::level::level_enum level = spdlog::level::info;
  std::string text;
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

std::unique_ptr<spdlog::formatter> line_format() {
  return std::make_unique<spdlog::pattern_formatter>("%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
}

std::shared_ptr<spdlog::sinks::sink> stderr_sink() {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_formatter(line_format());
  return sink;
}

// Never destroyed: a task may log while the program exits, and a helper thread that is stuck in a full pipe must not
// be waited for.
struct Writer {
  std::atomic<Level> level{Level::info};
  std::atomic<uint64_t> dropped{0};

  std::mutex mutex;  // of everything below
  std::condition_variable work, drained;
  std::deque<Line> waiting;
  Sinks sinks{stderr_sink()};
  bool background = false;
  bool has_thread = false;
  bool writing = false;
  uint64_t reported = 0;

  static Writer& get() {
    static Writer* writer = new Writer;
    return *writer;
  }

  static void write_to(const Sinks& sinks, const Line& line) {
    spdlog::details::log_msg message(line.time, {}, {}, line.level, line.text);
    for (const auto& sink : sinks) {
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
      Sinks now = sinks;
      lock.unlock();
      write_to(now, line);
      return;
    }
    if (waiting.size() >= max_waiting_lines) {
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
      Sinks now = sinks;
      uint64_t lost = dropped - reported;
      reported += lost;
      writing = true;
      lock.unlock();
      if (lost != 0) {
        write_to(now, {line.time, spdlog::level::warn, fmt::format("WARNING log: lines were dropped count={}", lost)});
      }
      write_to(now, line);
      lock.lock();
      writing = false;
      if (waiting.empty()) drained.notify_all();
    }
  }
};

// One line stays one line whatever a peer put into the text.
std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += ' ';
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Result<void> init(const Options& options) {
  Sinks sinks;
  if (options.to_stderr) sinks.push_back(stderr_sink());
  if (!options.dir.empty()) {
    try {
      std::filesystem::create_directories(options.dir);
      auto file = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          options.dir + "/" + options.file, std::max<size_t>(options.file_bytes, 4096),
          static_cast<size_t>(std::max(options.file_count, 0)));
      file->set_formatter(line_format());
      sinks.push_back(std::move(file));
    } catch (const std::exception& problem) {
      return fail(Errc::invalid, fmt::format("cannot log to {}: {}", options.dir, problem.what()));
    }
  }
  Writer& writer = Writer::get();
  std::lock_guard lock(writer.mutex);
  writer.level = options.level;
  writer.sinks = std::move(sinks);
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
  Writer::get().submit({Clock::now(), spdlog_level(level),
                        fmt::format("{:<7} {}: {}", level_name(level), component, printable(message))});
}

}  // namespace pgdba::log
