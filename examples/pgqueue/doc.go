// Package pgqueue has the tests of package queue/pgqueue, with the drivers pgx and lib/pq and a PostgreSQL server that
// they start: a module of its own, so that the library depends on no driver.
package pgqueue
