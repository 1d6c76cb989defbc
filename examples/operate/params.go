package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
)

// badRequest is an error that is the client's.
type badRequest struct{ text string }

func (b *badRequest) Error() string { return b.text }

func bad(format string, args ...any) error { return &badRequest{fmt.Sprintf(format, args...)} }

// query reads the parameters of a request, and keeps the first error. What nobody read is an error, too: a misspelt one would
// choose more mail than was meant.
type query struct {
	values url.Values
	now    time.Time
	err    error
}

func (q *query) get(name string) string {
	values, given := q.values[name]
	delete(q.values, name)
	if given && q.err == nil && (len(values) != 1 || values[0] == "") {
		q.err = bad("%s: it is empty, or stands twice", name)
	}
	return strings.Join(values, ",")
}

// time reads a time, or how far away one is in the direction.
func (q *query) time(name string, direction time.Duration) time.Time {
	s := q.get(name)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at
	}
	d, err := time.ParseDuration(s)
	if err != nil && q.err == nil {
		q.err = bad("%s: it must be a time as in RFC 3339, or a duration", name)
	}
	return q.now.Add(direction * d)
}

func (q *query) filter() (f queue.Filter) {
	f.ID = queue.ID(q.get("id"))
	f.Destination = q.get("destination")
	f.Sender = q.get("sender")
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

// choice reads the filter of an operation.
func (q *query) choice() (queue.Filter, error) {
	f := q.filter()
	all := q.get("all")
	if err := q.end(); err != nil {
		return f, err
	}
	if (f == queue.Filter{}) != (all == "true") {
		return f, bad("choose messages, or say all=true to mean all of them")
	}
	return f, nil
}

func (q *query) end() error {
	for name := range q.values {
		return bad("%s: there is no such parameter here", name)
	}
	return q.err
}
