// Package pgqueue has the tests of package queue/pgqueue, with the drivers pgx and lib/pq and a PostgreSQL server that
// they start: a module of its own, so that the library depends on no driver.
//
// POSTRIDER_PG_BIN is the directory of the server's programs, to test another version than Debian's newest. These make
// tests larger than usual: POSTRIDER_PG_MIX, _KILLS, _CRASHES, _CUTS, _LIMIT, _DRAIN_MESSAGES, _DRAIN_KILLS, _TAKEOVER
// and _SIZES (in thousands), _WAL, _FIGURES, and _READER (in seconds).
package pgqueue
