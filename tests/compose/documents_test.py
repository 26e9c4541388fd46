"""docs/deploy-docker.md tells the truth: its blocks run as they stand, in order, in one shell that begins in the project's folder,
and print what is shown below them.

A fence's mark says what a block is:
  bash    commands. A psql without -c gets the ```sql block that follows, or else \\conninfo; `logs -f` is followed for a moment.
  sql     what is typed into the psql of the block before.
  dotenv  lines that are put into .env.
  text    what the block before prints. Each line's words occur in one line of the output, in this order; numbers and times count as
          equal, but for ports. pg-replica-1 and pg-replica-2 may have changed places.
  json    the same for JSON: more keys are allowed, lists are complete.
  (none)  shown, not run.
"""
import json
import re
import subprocess
import time

import pytest

from harness.waiting import wait_until
from stack import NODES, ROOT, docker, password

DOCS = {"en": ROOT / "docs" / "deploy-docker.md", "zh": ROOT / "docs" / "deploy-docker.zh-CN.md"}
# Only their syntax is checked.
NOT_RUN = {
    "sudo systemctl stop postgresql": "would stop a PostgreSQL of the machine that runs the tests",
    "brew services stop postgresql@16": "macOS",
}
PORTS = {"2379", "2380", "5432", "5433", "5434", "6432", "8008", "8009", "8010"}

# One shell over all blocks: folder and exports are kept in files between them.
PRELUDE = r"""
set -eo pipefail
cd "$(cat "$STATE/folder")"
[ ! -e "$STATE/exports" ] || . "$STATE/exports"
trap 'pwd > "$STATE/folder"; export -p | grep -E "^declare -x PGPASSWORD=" > "$STATE/exports" || true' EXIT
psql() { case " $* " in *" -c "*) command psql -X "$@" < /dev/null ;; *) command psql -X -v ON_ERROR_STOP=1 "$@" < "$STATE/typed" ;; esac; }
# It has to go on until it is interrupted, and to have printed something.
follow() {
  command docker "$@" > "$STATE/followed" 2>&1 &
  for _ in $(seq 300); do [ ! -s "$STATE/followed" ] || break; sleep 0.1; done
  sleep 1
  kill $!
  wait $! || true
  cat "$STATE/followed"
  [ -s "$STATE/followed" ]
}
docker() { case " $* " in *" logs -f "*) follow "$@" ;; *) command docker "$@" ;; esac; }
"""


def fences(path):
    """(mark, text) of each block, in order; what is indented belongs to a list and loses the indent."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", path.read_text(), re.M | re.S)
    return [(mark, re.sub(f"^{indent}", "", text, flags=re.M)) for indent, mark, text in found]


def without_comments(block):
    """The commands alone: what has to be the same in each language."""
    lines = [line.rstrip() for line in block.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    # What a loop tells the reader meanwhile is prose, too.
    return [re.sub(r'\becho "[^"]*"$', "echo", re.sub(r"  +# .*", "", line)) for line in lines]


def plain(text, image=""):
    """Without colours, and with what differs from run to run replaced by #."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    if image:
        text = text.replace(image, "ETCD")
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?", "TIME", text)
    text = re.sub(r"\bUp (About an?|Less than a|\d+) (second|minute|hour)s?", "Up TIME", text)
    text = re.sub(r"(?<![\w.-])[0-9A-F]+/[0-9A-F]+\b", "#", text)
    text = re.sub(r"127\.0\.0\.1", "LOOPBACK", text)
    text = re.sub(r"(?<![\w-])\d+(\.\d+)*(?:[mµ]?s\b| ?k?B\b)?", lambda number: number[0] if number[0] in PORTS else "#", text)
    return re.sub(r"-{2,}(\+-{2,})*", "--", text)


def swapped(text):
    return re.sub(r"(pg-replica-)([12])", lambda name: name[1] + "21"[int(name[2]) - 1], text)


def words_in_order(wanted, line):
    words = iter(line.split())
    return all(word in words for word in wanted.split())


def missing_lines(expected, printed, image=""):
    """Lines of `expected` that no line of `printed` has; each line of the output counts once."""
    left = plain(printed, image).splitlines()
    missing = []
    for line in plain(expected, image).splitlines():
        found = next((candidate for candidate in left if words_in_order(line, candidate)), None)
        if found is None:
            missing.append(line)
        else:
            left.remove(found)
    return missing


def difference(expected, value, where="$"):
    """What of `expected` is not in `value`; None when it is all there."""
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            return f"{where} is {value!r}"
        return next(filter(None, (difference(one, value.get(key), f"{where}.{key}") for key, one in expected.items())), None)
    if isinstance(expected, list):
        if not isinstance(value, list) or len(value) != len(expected):
            return f"{where} is {value!r}"
        return next(filter(None, (difference(one, value[at], f"{where}[{at}]") for at, one in enumerate(expected))), None)
    if isinstance(expected, int) and str(expected) not in PORTS and expected != 0:
        return None if isinstance(value, int) else f"{where} is {value!r}"
    return None if value == expected else f"{where} is {value!r}, not {expected!r}"


def in_any_order(document):
    """Members are sorted by name, which a swap of the replicas changes."""
    if isinstance(document, dict) and "members" in document:
        return {**document, "members": sorted(document["members"], key=lambda member: member["name"])}
    return document


def problem(mark, expected, printed, image):
    """Why `printed` is not what is shown; None when it is."""
    if mark == "text":
        missing = missing_lines(expected, printed, image)
        return missing and missing_lines(swapped(expected), printed, image) and f"not printed: {missing}"
    try:
        # What a command says to people may stand around it.
        value, _ = json.JSONDecoder().raw_decode(printed[printed.index("{"):])
    except ValueError:
        return "no JSON"
    found = difference(json.loads(expected), value)
    return found and difference(in_any_order(json.loads(swapped(expected))), value) and found


def only_asks(block):
    """May be run again until it prints what is shown: replicas need a moment to follow, and health checks theirs."""
    changes = r"connect|switchover|\bstart\b|\bstop\b|\bkill\b|\bup\b|\bdown\b|create|insert|until"
    return not re.search(changes, re.sub(r"^\s*#.*$", "", block, flags=re.M))


class Reader:
    """Somebody who follows a document in a scratch copy of the project."""

    def __init__(self, stack):
        self.stack = stack
        self.state = stack.folder / "state"
        self.state.mkdir()
        (self.state / "folder").write_text(str(stack.folder))
        (stack.folder / "tools").symlink_to(ROOT / "tools")
        (stack.work / ".env").unlink()
        self.image = stack.settings.get("ETCD_IMAGE", "")
        self.environment = {**stack.environment(), "STATE": str(self.state), "PAGER": "cat", **({"ETCD_IMAGE": self.image} if self.image else {})}
        # psql's password comes as the document says.
        self.environment.pop("PGPASSFILE")

    def run(self, block, typed="\\conninfo\n"):
        (self.state / "typed").write_text(typed)
        done = subprocess.run(["bash", "-c", PRELUDE + block], capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL,
                              env=self.environment)
        return done.returncode, done.stdout + done.stderr

    def follow(self, block, typed, shown):
        """Runs a block and compares it with (mark, text), if any is shown. A block that only asks may ask for half a minute."""
        deadline = time.monotonic() + (30 if only_asks(block) and shown else 0)
        while True:
            code, printed = self.run(block, typed)
            why = f"ended with {code}" if code else shown and problem(*self.as_here(shown), printed, self.image)
            if not why:
                return
            if time.monotonic() >= deadline:
                raise AssertionError(f"{why}\n--- block\n{block}--- shown\n{shown and shown[1]}\n--- printed\n{printed[-6000:]}")
            time.sleep(0.5)

    def as_here(self, shown):
        """With the image of etcd that this engine has."""
        mark, text = shown
        return mark, text.replace("quay.io/coreos/etcd:v3.5.9", self.image) if self.image else text

    def put_into_env(self, lines):
        path = self.stack.work / ".env"
        names = {line.split("=")[0] for line in lines.splitlines()}
        kept = [line for line in path.read_text().splitlines() if line.split("=")[0] not in names]
        path.write_text("\n".join([*kept, *lines.splitlines(), ""]))


@pytest.fixture
def reader(bare):
    stack = bare()
    one = Reader(stack)
    yield one
    # The .env of the last block is what `down` reads; without any, it would refuse.
    if not (stack.work / ".env").exists():
        stack.write_env()


def steps(found):
    """(block, what psql reads, what is shown) of each bash block; complains about a block that belongs to none."""
    at = 0
    while at < len(found):
        mark, text = found[at]
        at += 1
        if mark == "":
            continue
        if mark == "dotenv":
            yield mark, text, None
            continue
        assert mark == "bash", f"a block of kind {mark!r} follows no commands:\n{text}"
        typed, shown = "\\conninfo\n", None
        if at < len(found) and found[at][0] == "sql":
            assert re.match(r"psql [^\n]*$", without_comments(text)[-1]) and " -c " not in text, f"no psql reads this:\n{found[at][1]}"
            typed, at = found[at][1], at + 1
        if at < len(found) and found[at][0] in ("text", "json"):
            shown, at = found[at], at + 1
        yield text, typed, shown


def test_the_documents_have_the_same_blocks():
    blocks = {language: [(mark, without_comments(text)) for mark, text in fences(path) if mark] for language, path in DOCS.items()}
    assert sum(mark == "bash" for mark, _ in blocks["en"]) > 30
    for one, other in zip(blocks["en"], blocks["zh"]):
        assert one == other
    assert len(blocks["en"]) == len(blocks["zh"])


def test_what_is_not_run_is_in_the_document():
    commands = {line for mark, text in fences(DOCS["en"]) if mark == "bash" for line in without_comments(text)}
    assert set(NOT_RUN) <= commands


@pytest.mark.parametrize("language", DOCS)
def test_syntax(language):
    for mark, text in fences(DOCS[language]):
        if mark == "bash":
            done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_comparing_finds_what_is_not_there():
    """The comparison itself, on a status as it is printed."""
    printed = ("local-ha  healthy   leader pg-replica-2 since 2026-11-28T05:16:07Z   data 9 ms old\n"
               "pg-primary    pg-primary:5432    quorum_standby  streaming   2  0/401F130  416 B  0  quorum\n"
               "pg-replica-2  pg-replica-2:5432  leader          running     2  0/401F2D0\n")
    shown = "pg-primary pg-primary:5432 quorum_standby streaming 7 0/1 0 0 quorum\npg-replica-1 pg-replica-1:5432 leader running 3 0/2\n"
    assert problem("text", shown, printed, "") is None or problem("text", shown, printed, "") == []
    for wrong in (shown.replace("leader", "replica"), shown.replace("5432", "5433"), shown.replace("streaming", "stopped"),
                  shown.replace("pg-replica-1", "pg-primary"), shown + shown):
        assert problem("text", wrong, printed, "")
    members = '{"members": [{"name": "pg-primary", "role": "leader", "lag": 0, "port": 5432, "timeline": 3}]}'
    assert not problem("json", members, members.replace("3}", '4, "more": 1}'), "")
    for old, new in (("leader", "replica"), ("5432", "5433"), ('"lag": 0', '"lag": 8'), ("3}", '"x"}'), ("3}]", '3}, {"name": "x"}]')):
        assert problem("json", members, members.replace(old, new), ""), new
    assert problem("json", members, "", "")


@pytest.mark.parametrize("written, meant", [("Abcdefgh1234", "Abcdefgh1234"), ("'Two$ and a # 4'", "Two$ and a # 4")])
def test_psql_gets_the_password_as_it_may_be_written(tmp_path, written, meant):
    """In single quotes, too, as the document says."""
    assert written.startswith("A") or all(f"POSTGRES_PASSWORD={written}`" in path.read_text() for path in DOCS.values())
    (tmp_path / "deployments" / "docker").mkdir(parents=True)
    (tmp_path / "deployments" / "docker" / ".env").write_text(f"POSTGRES_PASSWORD={written}\nREPLICATION_PASSWORD=x\n")
    block = next(text for mark, text in fences(DOCS["en"]) if mark == "bash" and text.startswith("export PGPASSWORD"))
    done = subprocess.run(["bash", "-ec", block + 'printf %s "$PGPASSWORD"'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == meant, done


@pytest.mark.timeout(600)
def test_the_blocks_run_as_they_stand(reader):
    for text, typed, shown in steps(fences(DOCS["en"])):
        if text == "dotenv":
            reader.put_into_env(typed)
        elif not set(without_comments(text)) & set(NOT_RUN):
            reader.follow(text, typed, shown)


def shown_without_mark(language):
    return [line for mark, text in fences(DOCS[language]) if mark == "" for line in text.splitlines()]


def test_what_up_says_about_a_bad_env(reader):
    """The messages in the document are those that one gets, and nothing that needs a password is started."""
    lines = [line for line in shown_without_mark("en") if "PASSWORD" in line]
    assert set(lines) <= set(shown_without_mark("zh"))
    reader.run("cd deployments/docker")
    code, printed = reader.run("docker compose up -d")
    missing = next(line for line in lines if "is missing a value" in line)
    # Compose names the first of the two that it finds; its own words differ between versions.
    advice = missing.split(": ", 1)[1]
    assert code != 0 and re.search(r"(POSTGRES|REPLICATION)_PASSWORD is missing a value: " + re.escape(advice), printed), printed
    rules = [line for line in lines if line.startswith("pgdba: POSTGRES_PASSWORD")]
    bad = ["your_strong_password_here", "Short1", "lower1234567", "UPPER1234567", "NoDigitsInHere"]
    assert len(rules) == len(bad)
    for rule, value in zip(rules, bad):
        reader.stack.write_env(POSTGRES_PASSWORD=value)
        code, printed = reader.run("docker compose up -d")
        assert code != 0 and 'service "check-env" didn\'t complete successfully: exit 78' in printed, printed
        assert reader.run("docker compose logs --no-log-prefix check-env")[1].splitlines()[-1].endswith(rule)
        running = docker("ps", "--format", "{{.Names}}").split()
        assert not [name for name in running if name.startswith("pg")], running


@pytest.mark.parametrize("who", ["a container", "a program"])
def test_a_port_that_is_taken(reader, who):
    """The two errors of the document, each without the endpoint's number."""
    words = {"a container": "port is already allocated", "a program": "address already in use"}[who]
    line = next(line for line in shown_without_mark("en") if words in line)
    assert line in shown_without_mark("zh")
    reader.stack.write_env()
    reader.run("cd deployments/docker")
    if who == "a container":
        name = docker("run", "-d", "--rm", "-p", "127.0.0.1:5432:5432", "pgdba:latest", "sleep", "120").strip()
        release = lambda: docker("kill", name)  # noqa: E731
    else:
        program = subprocess.Popen(["python3", "-m", "http.server", "--bind", "127.0.0.1", "5432"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        release = lambda: (program.terminate(), program.wait())  # noqa: E731
        time.sleep(1)
    try:
        code, printed = reader.run("docker compose up -d")
        said = re.sub(r"endpoint pg-primary \([0-9a-f]+\)", "endpoint pg-primary", printed)
        newer = rf"driver failed programming external connectivity on endpoint pg-primary: .*127\.0\.0\.1:5432.* {words}$"
        assert code != 0 and (line in said or re.search(newer, said, re.M)), printed
    finally:
        release()


def test_a_password_changed_in_env_only(reader):
    """The nodes' logs say why there is no leader, which nothing else tells, and the old password mends it."""
    said = "PostgreSQL does not let its own agent in"
    assert all(said in path.read_text() for path in DOCS.values())
    stack = reader.stack
    stack.write_env()
    stack.up()
    old = stack.settings["POSTGRES_PASSWORD"]
    assert said not in stack.compose("logs").out
    stack.write_env(POSTGRES_PASSWORD=password())
    stack.compose("up -d")
    for name in NODES:
        wait_until(f"{name} says why", 60, lambda: said in stack.compose(f"logs {name}").out)
    stack.write_env(POSTGRES_PASSWORD=old)
    stack.up()
    stack.wait_healthy()


def test_passwords_changed_in_the_order_of_the_document(reader):
    """In PostgreSQL first, with time to spare until .env follows: somebody still leads, and afterwards all three roles get in everywhere."""
    stack = reader.stack
    stack.write_env()
    stack.up()
    new = {"POSTGRES_PASSWORD": password(), "REPLICATION_PASSWORD": password()}
    port = NODES[stack.leader()][0]
    for role in ("replicator", "pgdba_pooler", "postgres"):
        assert f"\\password {role}" in DOCS["en"].read_text() and f"\\password {role}" in DOCS["zh"].read_text()
        value = new["POSTGRES_PASSWORD" if role == "postgres" else "REPLICATION_PASSWORD"]
        stack.sql(f"alter role {role} password '{value}'", port)
    time.sleep(15)  # more than a lease
    leader = stack.leader()
    stack.write_env(**new)
    assert stack.sql("select pg_is_in_recovery()", NODES[leader][0]) == ("f",)
    stack.up()
    stack.wait_healthy()


def test_readmes_have_the_same_blocks():
    found = []
    for path in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
        commands = [without_comments(text) for mark, text in fences(path) if mark == "sh"]
        found.append((commands, [line.split("#")[0].strip() for line in re.findall(r"^    (make .*)$", path.read_text(), re.M)]))
    assert found[0] == found[1] and all(found[0])


def anchors(path):
    """What its headings are called in links, as GitHub does it."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", path.read_text(), re.M)}


@pytest.mark.parametrize("path", [*DOCS.values(), ROOT / "README.md", ROOT / "README.zh-CN.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text())
    assert links
    for file, anchor in links:
        target = path.parent / file if file else path
        assert target.exists() and (not anchor or anchor in anchors(target)), f"{file}#{anchor}"
