// What a JDBC application does, over one connection after another and several at once. Run as a source file:
//   java -cp /usr/share/java/postgresql.jar Jdbc.java jdbc:postgresql://host:port/database user password
// Prints one line "ok NAME" for each thing that worked, and ends with 1 at the first that did not.
import java.io.StringReader;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Jdbc {
  static String url, user, password;

  static Connection open(String options) throws SQLException { return DriverManager.getConnection(url + options, user, password); }

  static void check(boolean right, String what) {
    if (!right) throw new RuntimeException(what);
  }

  static int one(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
      r.next();
      return r.getInt(1);
    }
  }

  static void prepared(String options) throws Exception {
    try (Connection c = open(options)) {
      try (PreparedStatement p = c.prepareStatement("select ?::int + 1")) {
        for (int i = 0; i < 50; i++) {
          p.setInt(1, i);
          try (ResultSet r = p.executeQuery()) {
            r.next();
            check(r.getInt(1) == i + 1, "wrong sum");
          }
        }
      }
      check(c.isValid(5), "isValid");
    }
  }

  static void transactions() throws Exception {
    try (Connection c = open("")) {
      c.setAutoCommit(false);
      try (Statement s = c.createStatement()) {
        s.execute("create table if not exists jdbc_t(n int primary key, note text)");
        c.commit();
        s.execute("delete from jdbc_t");
        s.execute("insert into jdbc_t values (1, 'a')");
        Savepoint before = c.setSavepoint();
        try {
          s.execute("insert into jdbc_t values (1, 'b')");
          check(false, "a duplicate was taken");
        } catch (SQLException e) {
          check(e.getSQLState().equals("23505"), "sqlstate " + e.getSQLState());
        }
        c.rollback(before);
        s.execute("insert into jdbc_t values (2, 'c')");
        c.commit();
      }
      check(one(c, "select count(*) from jdbc_t") == 2, "rows after the transaction");
      c.rollback();
    }
  }

  static void batch() throws Exception {
    try (Connection c = open("?reWriteBatchedInserts=true")) {
      c.setAutoCommit(false);
      try (PreparedStatement p = c.prepareStatement("insert into jdbc_t values (?, ?)")) {
        for (int i = 100; i < 1100; i++) {
          p.setInt(1, i);
          p.setString(2, "x".repeat(i % 100));
          p.addBatch();
        }
        p.executeBatch();
      }
      c.commit();
      check(one(c, "select count(*) from jdbc_t where n >= 100") == 1000, "rows of the batch");
      c.rollback();
    }
  }

  static void failedBatch() throws Exception {
    try (Connection c = open("?prepareThreshold=1")) {
      try (PreparedStatement p = c.prepareStatement("insert into jdbc_t values (?, 'd')")) {
        for (int n : new int[] {5001, 5002, 1, 5003}) {
          p.setInt(1, n);
          p.addBatch();
        }
        try {
          p.executeBatch();
          check(false, "a batch with a duplicate was taken");
        } catch (BatchUpdateException e) {
          check(e.getSQLState().equals("23505"), "sqlstate " + e.getSQLState());
        }
      }
      check(one(c, "select 7") == 7, "the connection after a failed batch");
    }
  }

  static void cursor() throws Exception {
    try (Connection c = open("")) {
      c.setAutoCommit(false);
      try (Statement s = c.createStatement()) {
        s.setFetchSize(7);
        int seen = 0;
        try (ResultSet r = s.executeQuery("select generate_series(1, 1000)")) {
          while (r.next()) check(r.getInt(1) == ++seen, "order of the cursor");
        }
        check(seen == 1000, "rows of the cursor");
      }
      c.commit();
    }
  }

  static void copy() throws Exception {
    try (Connection c = open("")) {
      CopyManager copies = c.unwrap(PGConnection.class).getCopyAPI();
      try (Statement s = c.createStatement()) { s.execute("truncate jdbc_t"); }
      StringBuilder rows = new StringBuilder();
      for (int i = 0; i < 20000; i++) rows.append(i).append("\tcopied\n");
      check(copies.copyIn("copy jdbc_t from stdin", new StringReader(rows.toString())) == 20000, "rows copied in");
      java.io.StringWriter out = new java.io.StringWriter();
      check(copies.copyOut("copy jdbc_t to stdout", out) == 20000, "rows copied out");
      try {
        copies.copyIn("copy jdbc_t from stdin", new StringReader("1\tok\nnot a number\tx\n"));
        check(false, "broken COPY was taken");
      } catch (SQLException e) {
        check(e.getSQLState().equals("22P02") || e.getSQLState().equals("23505"), "sqlstate " + e.getSQLState());
      }
      check(one(c, "select 8") == 8, "the connection after a broken COPY");
    }
  }

  static void cancel() throws Exception {
    try (Connection c = open(""); Statement s = c.createStatement()) {
      s.setQueryTimeout(1);
      try {
        s.execute("select pg_sleep(30)");
        check(false, "the query was not cancelled");
      } catch (SQLException e) {
        check(e.getSQLState().equals("57014"), "sqlstate " + e.getSQLState());
      }
      s.setQueryTimeout(0);
      check(one(c, "select 9") == 9, "the connection after a cancel");
    }
  }

  static void many() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(24);
    List<Future<Void>> running = new ArrayList<>();
    for (int t = 0; t < 24; t++) {
      final int id = t;
      running.add(threads.submit(() -> {
        try (Connection c = open("?prepareThreshold=1&ApplicationName=jdbc-" + id); PreparedStatement p = c.prepareStatement("select ?::int, " + id)) {
          for (int i = 0; i < 100; i++) {
            p.setInt(1, i);
            try (ResultSet r = p.executeQuery()) {
              r.next();
              check(r.getInt(1) == i && r.getInt(2) == id, "another client's answer");
            }
          }
        }
        return null;
      }));
    }
    for (Future<Void> each : running) each.get(120, TimeUnit.SECONDS);
    threads.shutdown();
  }

  interface Thing { void run() throws Exception; }

  public static void main(String[] arguments) throws Exception {
    url = arguments[0];
    user = arguments[1];
    password = arguments[2];
    Map<String, Thing> things = new LinkedHashMap<>();
    things.put("prepared, simple mode", () -> prepared("?preferQueryMode=simple"));
    things.put("prepared, extended, unnamed", () -> prepared("?prepareThreshold=0"));
    things.put("prepared, named from the first use", () -> prepared("?prepareThreshold=1"));
    things.put("prepared, named, binary", () -> prepared("?prepareThreshold=-1"));
    things.put("transactions and savepoints", Jdbc::transactions);
    things.put("batch", Jdbc::batch);
    things.put("failed batch", Jdbc::failedBatch);
    things.put("cursor with fetch size", Jdbc::cursor);
    things.put("COPY in and out", Jdbc::copy);
    things.put("cancel by query timeout", Jdbc::cancel);
    things.put("24 threads", Jdbc::many);
    for (Map.Entry<String, Thing> each : things.entrySet()) {
      try {
        each.getValue().run();
        System.out.println("ok " + each.getKey());
      } catch (Exception e) {
        System.out.println("FAILED " + each.getKey() + ": " + e);
        e.printStackTrace(System.out);
        System.exit(1);
      }
    }
  }
}
