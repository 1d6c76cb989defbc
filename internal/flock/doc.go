// Package flock locks files for a process: what the spool and the list of suppressed addresses share.
package flock
