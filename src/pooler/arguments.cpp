#include "pooler/arguments.h"

#include <fmt/format.h>
#include <map>
#include <openssl/crypto.h>
#include <string_view>

#include "base/version.h"

namespace pgdba::pooler {

namespace {

// Whose file, console and messages these are.
constexpr std::string_view kSpeaks = "PgBouncer 1.25.2";

const std::map<std::string_view, char> kLong = {{"daemon", 'd'}, {"quiet", 'q'},   {"verbose", 'v'}, {"user", 'u'},
                                                {"reboot", 'R'}, {"version", 'V'}, {"help", 'h'}};

// PgBouncer's getopt takes an unambiguous beginning, too ("--verb").
char find_long(std::string_view name) {
  char found = 0;
  for (const auto& [word, letter] : kLong) {
    if (word == name) return letter;
    if (!name.empty() && word.starts_with(name)) found = found == 0 ? letter : '?';
  }
  return found == '?' ? '\0' : found;
}

}  // namespace

Result<Arguments> parse_arguments(const std::vector<std::string>& words) {
  Arguments out;
  std::vector<std::string> files;
  bool options = true;
  // True: `letter` is known and has been taken in.
  const auto take = [&](char letter) -> Result<bool> {
    switch (letter) {
      case 'd': out.daemon = true; return true;
      case 'q': out.quiet = true; return true;
      case 'v': ++out.verbose; return true;
      case 'V':
      case 'h':
        // The first of the two counts, whatever follows.
        if (out.what == Arguments::Do::run) out.what = letter == 'V' ? Arguments::Do::version : Arguments::Do::help;
        return true;
      case 'R':
        return fail(Errc::invalid,
                    "-R (online restart) is not supported. Start the new process beside the old one with so_reuseport = 1 in both files"
                    " (each with its own unix_socket_dir and pidfile), then send the old one SIGTERM: it ends when its last client has left");
      default: return false;
    }
  };
  for (size_t i = 0; i < words.size() && out.what == Arguments::Do::run; ++i) {
    const std::string& word = words[i];
    if (!options || word.size() < 2 || word[0] != '-') {
      files.push_back(word);
    } else if (word == "--") {
      options = false;
    } else if (word.starts_with("--")) {
      const size_t equals = word.find('=');
      const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
      const char letter = find_long(name);
      if (letter == 'u') {
        if (equals != std::string::npos) out.user = word.substr(equals + 1);
        else if (++i < words.size()) out.user = words[i];
        else return fail(Errc::invalid, "option --user needs the name of a user");
      } else {
        auto known = equals == std::string::npos ? take(letter) : Result<bool>(false);
        if (!known) return tl::unexpected(known.error());
        if (!*known) return fail(Errc::invalid, "unknown option " + word);
      }
    } else {
      for (size_t at = 1; at < word.size() && out.what == Arguments::Do::run; ++at) {
        if (word[at] == 'u') {
          if (at + 1 < word.size()) out.user = word.substr(at + 1);
          else if (++i < words.size()) out.user = words[i];
          else return fail(Errc::invalid, "option -u needs the name of a user");
          break;
        }
        auto known = take(word[at]);
        if (!known) return tl::unexpected(known.error());
        if (!*known) return fail(Errc::invalid, fmt::format("unknown option -{} in \"{}\"", word[at], word));
      }
    }
  }
  if (out.what != Arguments::Do::run) return out;
  if (files.empty()) return fail(Errc::invalid, "no configuration file specified");
  if (files.size() > 1) return fail(Errc::invalid, "more than one configuration file: " + files[0] + ", " + files[1]);
  out.file = files[0];
  return out;
}

std::string help_text() {
  return R"(usage: pgdba pooler [OPTION]... FILE

Takes PgBouncer's place: reads the same pgbouncer.ini, listens where it says (port 6432 if it says nothing), and lends
its clients the server connections of its pools. With cluster_dcs and cluster_scope it follows the cluster's leader and
holds transactions while that moves. Try it with a file of four lines:

  [databases]
  * = host=127.0.0.1 port=5432
  [pgbouncer]
  auth_file = /etc/pgbouncer/userlist.txt

Options
  -d, --daemon        run in the background; needs pidfile and logfile in FILE
  -q, --quiet         log to logfile and syslog only, not to stderr
  -v, --verbose       log more; may be given several times
  -u, --user=USER     as root: switch to USER once the sockets are bound (goes before FILE's `user`)
  -V, --version       print the version and exit
  -h, --help          print this and exit
  -R, --reboot        refused: run two processes with so_reuseport = 1 instead

Signals
  HUP                 read FILE and all that it names again; a mistake in it is logged and changes nothing
  INT                 no new clients; end when running transactions have given back their servers (again: at once)
  TERM                no new clients; end when the last client has left (again: at once)
  QUIT                end at once
  USR1, USR2          PAUSE, RESUME

Exit code: 0 after a shutdown, 1 when FILE or the command line is wrong, or something at start fails.

  pgdba pooler -d /etc/pgbouncer/pgbouncer.ini          start in the background
  psql -h 127.0.0.1 -p 6432 -U postgres pgbouncer       the console: SHOW HELP
)";
}

std::string version_text() {
  return fmt::format("{} (pgdba {})\ntls: {}\n", kSpeaks, kVersion, ::OpenSSL_version(OPENSSL_VERSION));
}

}  // namespace pgdba::pooler
