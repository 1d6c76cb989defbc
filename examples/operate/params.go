package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
)

// badRequest is an error of the client.
type badRequest struct{ text string }

func (b *badRequest) Error() string { return b.text }

func bad(format string, args ...any) error { return &badRequest{fmt.Sprintf(format, args...)} }

// query reads the parameters of a request, and keeps the first error. A parameter that no endpoint reads is an error,
// too: if it is a misspelt filter, the request would select more mail than was meant.
type query struct {
	values url.Values
	now    time.Time
	err    error
}

func (q *query) get(name string) string {
	values, given := q.values[name]
	delete(q.values, name)
	if given && q.err == nil && (len(values) != 1 || values[0] == "") {
		q.err = bad("%s is empty or given twice: give it once, with a value", name)
	}
	return strings.Join(values, ",")
}

// time reads a time, or a duration from now: into the future if direction is 1, into the past if it is -1.
func (q *query) time(name string, direction time.Duration) time.Time {
	s := q.get(name)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at
	}
	d, err := time.ParseDuration(s)
	if err != nil && q.err == nil {
		q.err = bad("%s=%s: want a time by RFC 3339, or a duration such as 36h", name, s)
	}
	return q.now.Add(direction * d)
}

func (q *query) filter() (f queue.Filter) {
	f.ID = queue.ID(q.get("id"))
	f.Destination = q.get("destination")
	f.Domain = q.get("domain")
	f.Recipient = q.get("recipient")
	f.Sender = q.get("sender")
	f.Ref = q.get("ref")
	f.Tenant = q.get("tenant")
	if q.values.Has("older") {
		f.ArrivedBefore = q.time("older", -1)
	}
	if q.values.Has("newer") {
		f.ArrivedAfter = q.time("newer", -1)
	}
	if s := q.get("state"); s != "" {
		if err := f.State.UnmarshalText([]byte(s)); err != nil {
			q.err = cmp.Or(q.err, bad("state: %v", err))
		}
	}
	return f
}

// choice reads the filter of an operation. It is an error to select all mail without all=true.
func (q *query) choice() (queue.Filter, error) {
	f := q.filter()
	all := q.get("all")
	if err := q.end(); err != nil {
		return f, err
	}
	if (f == queue.Filter{}) != (all == "true") {
		return f, bad("give a filter to select some messages, or all=true to select all, but not both")
	}
	return f, nil
}

func (q *query) end() error {
	for name := range q.values {
		return bad("%s: this endpoint has no such parameter", name)
	}
	return q.err
}
