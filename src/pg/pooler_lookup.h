// What `pgdba.user_lookup(text)` says: the function through which a pooler asks for a role's secret (auth_query).
//
// Apart because two must agree on it: users.cpp makes it, answers.cpp looks whether what is there is still this one. A
// cluster that an older build made has another, and gets this one from its leader.
//
// Every role that may log in and has a password is told, superusers and replication included: a login through the pooler
// is to work as one to PostgreSQL does. The pooler's role may run this and read nothing else. What it gets of a role is a
// SCRAM verifier, which nobody can log in with; an md5 hash opens servers that still ask for md5.
#pragma once

namespace pgdba::pg {

inline constexpr const char* kLookupSearchPath = "pg_catalog, pg_temp";
inline constexpr const char* kLookupBody =
    "SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_catalog.pg_authid WHERE rolname = i_username AND rolcanlogin";

}  // namespace pgdba::pg
