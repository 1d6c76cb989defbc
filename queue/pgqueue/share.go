package pgqueue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/queue"
)

var _ queue.Sharer = (*Queue)(nil)

// These bound a call of Share.
const (
	maxShareNames = 1000
	maxShareName  = 255
	maxShareData  = 1 << 20
)

// Share implements [queue.Sharer]. It reads the records, and stores them with one statement if nobody has changed them
// meanwhile; otherwise it begins again. So no transaction is open while f runs, and a process that is cut off from the
// server blocks nobody. The time is the server's.
func (q *Queue) Share(
	ctx context.Context, names []string, f func(now time.Time, records map[string][]byte) error,
) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	if err := checkShareNames(names); err != nil {
		return fmt.Errorf("pgqueue: share: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	// One at a time, as others of this process would only make it begin again.
	return inSlot(ctx, q.sharing, func() error { return q.share(ctx, names, f) })
}

// share is Share with the slot.
func (q *Queue) share(
	ctx context.Context, names []string, f func(now time.Time, records map[string][]byte) error,
) error {
	for {
		records, now, err := q.readShare(ctx, names)
		if err != nil {
			return failed("share", err)
		}
		after := make(map[string][]byte, len(records))
		for name, r := range records {
			after[name] = bytes.Clone(r.Data)
		}
		if err := f(now, after); err != nil {
			return err
		}
		changes, err := shareChanges(names, records, after)
		if err != nil {
			return fmt.Errorf("pgqueue: share: %w", err)
		}
		if changes == "" {
			return nil
		}
		if err := q.begin(ctx); err != nil {
			return err
		}
		var stored bool
		err = q.db.QueryRowContext(ctx, q.sql(`SELECT "postrider".share($1::json)`), changes).Scan(&stored)
		if err != nil || stored {
			return failed("share", err)
		}
	}
}

func checkShareNames(names []string) error {
	if len(names) > maxShareNames {
		return fmt.Errorf("%d names: at most %d are possible", len(names), maxShareNames)
	}
	for _, name := range names {
		if name == "" || len(name) > maxShareName || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
			const must = "the name %q isn't valid: it must have 1 to %d octets of UTF-8, without NUL"
			return fmt.Errorf(must, name, maxShareName)
		}
	}
	return nil
}

// shareRecord is a row of the table share.
type shareRecord struct {
	Version int64  `json:"version"`
	Data    []byte `json:"data"`
}

// readShare reads records and the server's time.
func (q *Queue) readShare(ctx context.Context, names []string) (map[string]shareRecord, time.Time, error) {
	list, err := json.Marshal(names)
	if err != nil {
		return nil, time.Time{}, err
	}
	var now int64
	var text string
	err = q.db.QueryRowContext(ctx, q.sql(`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, coalesce((
			SELECT json_object_agg(name, json_build_object('version', version,
				'data', translate(encode(data, 'base64'), E'\n', '')))
			FROM "postrider".share WHERE name IN (SELECT json_array_elements_text($1::json))
		)::text, '{}')`), string(list)).Scan(&now, &text)
	if err != nil {
		return nil, time.Time{}, err
	}
	var records map[string]shareRecord
	err = json.Unmarshal([]byte(text), &records)
	return records, time.UnixMicro(now), err
}

// shareChange is what the function share gets of a record.
type shareChange struct {
	Name string `json:"name"`
	Was  *int64 `json:"was,omitempty"`
	Keep bool   `json:"keep"`
	Data []byte `json:"data,omitempty"`
}

// shareChanges returns the argument of the function share, "" if nothing has changed. An empty record isn't stored.
func shareChanges(names []string, before map[string]shareRecord, after map[string][]byte) (string, error) {
	for name, data := range after {
		switch {
		case !slices.Contains(names, name):
			return "", fmt.Errorf("the record %q isn't among the names of the call", name)
		case len(data) > maxShareData:
			return "", fmt.Errorf("the record %q has %d octets: at most %d are possible", name, len(data), maxShareData)
		}
	}
	all := make(map[string]shareChange, len(names))
	changed := false
	for _, name := range names {
		c := shareChange{Name: name, Data: after[name]}
		was, ok := before[name]
		if ok {
			c.Was = &was.Version
		}
		data, kept := after[name]
		if c.Keep = ok == (kept && len(data) > 0) && bytes.Equal(data, was.Data); c.Keep {
			c.Data = nil
		} else {
			changed = true
		}
		all[name] = c
	}
	if !changed {
		return "", nil
	}
	text, err := json.Marshal(slices.Collect(maps.Values(all)))
	return string(text), err
}
