package pgqueue

import (
	"encoding/json"
	"strconv"
	"strings"
)

// batch is what one commit stores.
type batch struct {
	node, fence, number int64
	after               uint64 // an ID that is lower than those of its messages
	lazy                bool
	msgs                []*draft
	outcomes            []outcomeRow
	marks               []markRow
}

func (q *Queue) newBatch(jobs []*job) *batch {
	q.mu.Lock()
	q.batch++
	b := &batch{node: jobs[0].node, fence: jobs[0].fence, number: q.batch, after: q.highest, lazy: true}
	q.mu.Unlock()
	for _, j := range jobs {
		b.msgs, b.outcomes = append(b.msgs, j.msgs...), append(b.outcomes, j.outcomes...)
		b.marks = append(b.marks, j.marks...)
		b.lazy = b.lazy && j.lazy
	}
	return b
}

// parts are what a commit has. There is a statement for each combination, as a part without rows has its costs, too.
type parts uint8

const (
	hasMsgs parts = 1 << iota
	hasOutcomes
	hasMarks
	isLazy     // it needn't be durable
	statements // how many there are
)

func (b *batch) parts() (p parts) {
	if len(b.msgs) > 0 {
		p |= hasMsgs
	}
	if len(b.outcomes) > 0 {
		p |= hasOutcomes
	}
	if len(b.marks) > 0 {
		p |= hasMarks
	}
	if b.lazy {
		p |= isLazy
	}
	return p
}

// These are the statements of commitSQL. Their rows come as arrays, a column each: the server takes several times as
// long to read rows in JSON. An unnest in FROM stores the rows once more, so only msgsPart has one, which needs the
// columns by name.
const (
	nodePart = `WITH n AS MATERIALIZED (
	SELECT id FROM "postrider".node WHERE id = $::bigint AND fence = $::bigint FOR KEY SHARE
)`
	// noNodePart is nodePart of a Queue with NoDelivery, which is no node: its rows are as those of an application.
	noNodePart = `WITH n AS MATERIALIZED (SELECT $::bigint AS id WHERE $::bigint = 0)`

	// batchPart is what the parts that store a batch's number need.
	batchPart = `, b AS MATERIALIZED (SELECT id, $::bigint AS batch FROM n)`

	msgsPart = `, m AS (
	INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
	SELECT coalesce(j.id, nextval('"postrider".msg_id')), j.lane, b.id, b.batch, j.arrival, j.size, j.head,
		CASE WHEN j.off IS NOT NULL THEN substring($::bytea FROM j.off + 1 FOR j.size::int) END
	FROM b, unnest($::text::bigint[], $::text::smallint[], $::text::bigint[], $::text::bigint[], $::text::int[],
		$::text::json[]) AS j(id, lane, arrival, size, off, head)
	RETURNING id
)`
	outcomesPart = `, o AS (
	INSERT INTO "postrider".outcome (id, lane, kind, last, data, node, batch)
	SELECT unnest($::text::bigint[]), unnest($::text::smallint[]), unnest($::text::smallint[]),
		unnest($::text::boolean[]), unnest($::text::json[]), b.id, b.batch
	FROM b
)`
	marksPart = `, k AS (
	INSERT INTO "postrider".mark (id, num, lane, attempts, deaths, until)
	SELECT unnest($::text::bigint[]), unnest($::text::bigint[]), unnest($::text::smallint[]), unnest($::text::int[]),
		unnest($::text::int[]), unnest($::text::bigint[])
	FROM n
)`
)

// commitSQL stores messages, outcomes and marks, if the node's row is there and its fence is the known one. The lock on
// the row makes whoever takes the node's lanes, or removes messages of the node, wait for it. It is one statement, so
// that a commit is one round trip. A lazy one may be undone by a crash of the server. node is nodePart or noNodePart.
func commitSQL(p parts, node string) string {
	text := node
	if p&(hasMsgs|hasOutcomes) != 0 {
		text += batchPart
	}
	ids := `''`
	if p&hasMsgs != 0 {
		text += msgsPart
		ids = `coalesce((SELECT string_agg(id::text, ',') FROM m), '')`
	}
	if p&hasOutcomes != 0 {
		text += outcomesPart
	}
	if p&hasMarks != 0 {
		text += marksPart
	}
	last := `''`
	if p&isLazy != 0 {
		last = `set_config('synchronous_commit', 'off', true)`
	}
	text += `
SELECT (SELECT count(*) FROM n), ` + ids + `, ` + last
	var b strings.Builder
	for i, rest := range strings.Split(text, "$") { // the arguments come in the order of the text
		if i > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i))
		}
		b.WriteString(rest)
	}
	return b.String()
}

// args returns the arguments of commitSQL. ids are those that the messages get; if nil, the server chooses them.
func (q *Queue) args(b *batch, ids []uint64) ([]any, error) {
	args := []any{b.node, b.fence}
	if len(b.msgs) > 0 || len(b.outcomes) > 0 {
		args = append(args, b.number)
	}
	if len(b.msgs) > 0 {
		args = append(args, q.msgColumns(b.msgs, ids)...)
	}
	if len(b.outcomes) > 0 {
		columns, err := outcomeColumns(b.outcomes)
		if err != nil {
			return nil, err
		}
		args = append(args, columns...)
	}
	if len(b.marks) > 0 {
		args = append(args, markColumns(b.marks)...)
	}
	return args, nil
}

// msgColumns returns the bodies, one after the other, and the columns of messages.
func (q *Queue) msgColumns(msgs []*draft, ids []uint64) []any {
	size := 0
	for _, d := range msgs {
		size += len(d.body)
	}
	bodies := make([]byte, 0, size)
	offs := make([]int, len(msgs))
	for i, d := range msgs {
		offs[i] = len(bodies)
		bodies = append(bodies, d.body...)
	}
	null := []byte("NULL")
	return []any{
		bodies,
		column(msgs, func(b []byte, i int, _ *draft) []byte {
			if ids == nil {
				return append(b, null...)
			}
			return strconv.AppendUint(b, ids[i], 10)
		}),
		column(msgs, func(b []byte, _ int, d *draft) []byte {
			return strconv.AppendInt(b, int64(q.laneOf(d.Message)), 10)
		}),
		column(msgs, func(b []byte, _ int, d *draft) []byte { return strconv.AppendInt(b, d.Arrival, 10) }),
		column(msgs, func(b []byte, _ int, d *draft) []byte { return strconv.AppendInt(b, d.Size, 10) }),
		column(msgs, func(b []byte, i int, d *draft) []byte {
			if d.file != nil { // the body is in chunks
				return append(b, null...)
			}
			return strconv.AppendInt(b, int64(offs[i]), 10)
		}),
		column(msgs, func(b []byte, _ int, d *draft) []byte { return appendElement(b, d.head) }),
	}
}

// outcomeColumns returns the columns of outcomes.
func outcomeColumns(rows []outcomeRow) ([]any, error) {
	data := make([][]byte, len(rows))
	for i := range rows {
		if rows[i].Data == nil {
			continue
		}
		var err error
		if data[i], err = json.Marshal(rows[i].Data); err != nil {
			return nil, err
		}
	}
	return []any{
		column(rows, func(b []byte, _ int, r outcomeRow) []byte { return strconv.AppendUint(b, r.ID, 10) }),
		column(rows, func(b []byte, _ int, r outcomeRow) []byte { return strconv.AppendInt(b, int64(r.Lane), 10) }),
		column(rows, func(b []byte, _ int, r outcomeRow) []byte { return strconv.AppendInt(b, int64(r.Kind), 10) }),
		column(rows, func(b []byte, _ int, r outcomeRow) []byte { return strconv.AppendBool(b, r.Last) }),
		column(rows, func(b []byte, i int, _ outcomeRow) []byte {
			if data[i] == nil {
				return append(b, "NULL"...)
			}
			return appendElement(b, data[i])
		}),
	}, nil
}

// markColumns returns the columns of marks.
func markColumns(rows []markRow) []any {
	return []any{
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendUint(b, r.ID, 10) }),
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendUint(b, uint64(r.Num), 10) }),
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendInt(b, int64(r.Lane), 10) }),
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendInt(b, int64(r.Attempts), 10) }),
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendInt(b, int64(r.Deaths), 10) }),
		column(rows, func(b []byte, _ int, r markRow) []byte { return strconv.AppendInt(b, r.Until, 10) }),
	}
}

// column returns the text of an array that has an element for each row.
func column[T any](rows []T, element func(b []byte, i int, row T) []byte) string {
	b := make([]byte, 0, 2+8*len(rows))
	b = append(b, '{')
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(b, i, r)
	}
	return string(append(b, '}'))
}

// appendElement appends a text as an element of an array.
func appendElement(b, text []byte) []byte {
	b = append(b, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// arrayOf returns numbers as the text of an array. Neither driver must know the type.
func arrayOf[T int | int64 | uint64](numbers []T) string {
	return column(numbers, func(b []byte, _ int, n T) []byte { return strconv.AppendInt(b, int64(n), 10) })
}
