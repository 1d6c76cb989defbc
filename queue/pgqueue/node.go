package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// register makes the Queue a node, so that it can have lanes.
func (q *Queue) register(ctx context.Context) error {
	var id int64
	begun := time.Now()
	err := q.inLock(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, q.sql(`WITH n AS (
				INSERT INTO "postrider".node (id, until) VALUES (nextval('"postrider".node_id'), 'infinity')
				RETURNING id
			)
			INSERT INTO "postrider".lease SELECT id, statement_timestamp() + make_interval(secs => $1) FROM n
			RETURNING node`), q.config.NodeLease.Seconds()).Scan(&id)
		if err != nil {
			return err
		}
		return q.newLayout(ctx, tx)
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.node, q.fence, q.layout, q.renewed = id, 0, 0, begun
	q.mu.Unlock()
	return nil
}

// inLock runs do in a transaction, alone among all Queues of the schema. The lock is taken in a statement before, so
// that the snapshots of do are newer.
func (q *Queue) inLock(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := q.beginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, q.sql(lockSQL)); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// beginTx begins a transaction. Each transaction of several statements begins here: it may have locks that the other
// Queues need, and a snapshot that keeps the server from vacuuming.
func (q *Queue) beginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error) {
	return beginTx(ctx, q.db, o, q.config.NodeLease)
}

// beginTx begins a transaction that the server ends if it waits for a statement longer than most: this process may be
// cut off meanwhile.
func beginTx(ctx context.Context, db *sql.DB, o *sql.TxOptions, most time.Duration) (*sql.Tx, error) {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `SELECT set_config('idle_in_transaction_session_timeout', $1, true)`,
		strconv.FormatInt(min(max(most, time.Second), time.Hour).Milliseconds(), 10))
	if err != nil {
		tx.Rollback()
		return nil, err
	}
	return tx, nil
}

// newLayout makes all Queues look at the lanes.
func (q *Queue) newLayout(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, q.sql(`UPDATE "postrider".version SET layout = layout + 1`))
	return err
}

// beater renews the lease of the node, and looks for nodes whose lease is over. Whenever the node is cut off, seven
// eighths of the lease are left, by default 21 seconds: more than permits.Hold, after which a Runner ends its attempts.
func (q *Queue) beater(background context.Context) {
	q.repeat(background, q.config.NodeLease/8, "the lease can't be renewed", q.beat)
}

// beat renews the lease. It makes the poller look at the lanes if a node is gone or has to go.
func (q *Queue) beat(background context.Context) error {
	ctx, cancel := context.WithTimeout(background, q.config.NodeLease/2)
	defer cancel()
	q.mu.Lock()
	node := q.node
	q.mu.Unlock()
	if node == 0 {
		q.wake()
		return nil
	}
	var there, over int
	begun := time.Now()
	err := q.db.QueryRowContext(ctx, q.sql(`WITH n AS (
			UPDATE "postrider".lease SET until = statement_timestamp() + make_interval(secs => $2)
			WHERE node = $1 RETURNING node
		)
		SELECT (SELECT count(*) FROM n),
			(SELECT count(*) FROM "postrider".lease WHERE until < statement_timestamp() AND node <> $1)
			+ (SELECT count(*) FROM "postrider".node WHERE until < statement_timestamp() AND id <> $1)`),
		node, q.config.NodeLease.Seconds()).Scan(&there, &over)
	if err == nil && there > 0 {
		q.mu.Lock()
		if q.node == node {
			q.renewed = begun
		}
		q.mu.Unlock()
	}
	if err == nil && (there == 0 || over > 0) {
		q.mu.Lock()
		q.layout = 0 // whatever it is: look at the lanes
		q.mu.Unlock()
		q.wake()
	}
	return err
}

// holdsLease reports whether the lease of the node can't be over, unless the server's clock was changed.
func (q *Queue) holdsLease() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.node != 0 && time.Since(q.renewed) < q.config.NodeLease
}

// layout is who has which lanes.
type layout struct {
	nodes []int64 // sorted
	owner [maxLanes]int64
}

// arrange takes the lanes of nodes whose lease is over, and returns the layout. Lanes that nobody has are taken up to
// our share. It returns errLost if our own row is gone.
func (q *Queue) arrange(ctx context.Context, node int64) (l layout, err error) {
	err = q.inLock(ctx, func(tx *sql.Tx) error {
		l = layout{}
		if err := q.takeOver(ctx, tx, node); err != nil {
			return err
		}
		if err := q.readLayout(ctx, tx, &l); err != nil {
			return err
		}
		if !slices.Contains(l.nodes, node) {
			return errLost
		}
		taken := l.take(node)
		if len(taken) == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, q.sql(`UPDATE "postrider".lane SET node = $1
			WHERE lane = ANY ($2::text::smallint[])`), node, arrayOf(taken))
		if err != nil {
			return err
		}
		return q.newLayout(ctx, tx)
	})
	return l, err
}

// share returns how many lanes a node has if all have as many, within one.
func (l *layout) share(node int64) int {
	n := maxLanes / len(l.nodes)
	if slices.Index(l.nodes, node) < maxLanes%len(l.nodes) {
		n++
	}
	return n
}

// of returns the lanes of a node.
func (l *layout) of(node int64) (lanes []int) {
	for lane, owner := range l.owner {
		if owner == node {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// take assigns lanes without a node to this one, up to its share, and returns them. The nodes that have less than their
// share take turns with the lanes, by their numbers. So the first one to look doesn't get all the lanes that are given
// up first, which are those without mail. What others don't take as they have their share, it gets at a later look.
func (l *layout) take(node int64) (taken []int) {
	lacks := func(n int64) bool { return len(l.of(n)) < l.share(n) }
	lacking := slices.DeleteFunc(slices.Clone(l.nodes), func(n int64) bool { return !lacks(n) })
	for _, lane := range l.of(0) {
		if lacks(node) && lacking[lane%len(lacking)] == node {
			l.owner[lane] = node
			taken = append(taken, lane)
		}
	}
	return taken
}

// surplus returns how many lanes a node has beyond its share.
func (l *layout) surplus(node int64) int { return max(0, len(l.of(node))-l.share(node)) }

// takeOver removes the nodes whose lease is over. Their lanes have nobody then. A lease that a node had is a death of
// its task. A heartbeat in progress comes before the first DELETE, or finds no lease. The second DELETE waits for
// commits of those nodes that are in progress; later ones fail.
func (q *Queue) takeOver(ctx context.Context, tx *sql.Tx, me int64) error {
	ended, err := q.readIDs(ctx, tx, `DELETE FROM "postrider".lease
		WHERE until < statement_timestamp() AND node <> $1 RETURNING node`, me)
	if err != nil {
		return err
	}
	over, err := q.readIDs(ctx, tx, `DELETE FROM "postrider".node
		WHERE (until < statement_timestamp() OR id = ANY ($2::text::bigint[])) AND id <> $1 RETURNING id`,
		me, arrayOf(ended))
	if err != nil {
		return err
	}
	for _, id := range over {
		q.config.Logger.Warn("pgqueue: another Queue is gone, and its messages go to those that are open", "node", id)
		if err := q.freeLanes(ctx, tx, int64(id), 1); err != nil {
			return err
		}
	}
	return nil
}

// freeLanes ends the leases of a node on tasks, and takes its lanes from it. deaths is 1 if the node died.
func (q *Queue) freeLanes(ctx context.Context, tx *sql.Tx, node int64, deaths int) error {
	now := q.clock.time().UnixNano()
	for _, s := range []struct {
		statement string
		args      []any
	}{
		// Of the marks and outcomes of a task, the last one counts.
		{`INSERT INTO "postrider".mark (id, num, lane, attempts, deaths, until)
			SELECT m.id, m.num, m.lane, m.attempts, m.deaths + CASE WHEN m.until > $2 THEN $3::int ELSE 0 END, NULL
			FROM (
				SELECT DISTINCT ON (id, num) * FROM "postrider".mark
				WHERE lane IN (SELECT lane FROM "postrider".lane WHERE node = $1) ORDER BY id, num, seq DESC
			) m
			WHERE m.until IS NOT NULL AND NOT EXISTS (
				SELECT FROM "postrider".outcome o WHERE o.id = m.id AND (o.last OR o.seq > m.seq AND o.kind IN (1, 2)
					AND coalesce((o.data ->> 'num')::bigint, 0) = m.num)
			)`, []any{node, now, deaths}},
		{`UPDATE "postrider".lane SET node = NULL WHERE node = $1`, []any{node}},
		{`DELETE FROM "postrider".stat WHERE node = $1`, []any{node}},
		{`DELETE FROM "postrider".lease WHERE node = $1`, []any{node}},
	} {
		if _, err := tx.ExecContext(ctx, q.sql(s.statement), s.args...); err != nil {
			return err
		}
	}
	return q.newLayout(ctx, tx)
}

// readLayout reads who has which lanes.
func (q *Queue) readLayout(ctx context.Context, db querier, l *layout) error {
	var nodes, lanes string
	err := db.QueryRowContext(ctx, q.sql(`SELECT
		coalesce((SELECT string_agg(id::text, ',' ORDER BY id) FROM "postrider".node), ''),
		coalesce((SELECT string_agg(lane || ':' || node, ',') FROM "postrider".lane WHERE node IS NOT NULL), '')`)).
		Scan(&nodes, &lanes)
	if err != nil {
		return err
	}
	ids, err := parseIDs(nodes)
	if err != nil {
		return err
	}
	for _, id := range ids {
		l.nodes = append(l.nodes, int64(id))
	}
	for pair := range strings.SplitSeq(lanes, ",") {
		lane, node, ok := strings.Cut(pair, ":")
		n, err := strconv.Atoi(lane)
		if !ok || err != nil || n < 0 || n >= maxLanes {
			continue
		}
		if l.owner[n], err = strconv.ParseInt(node, 10, 64); err != nil {
			return err
		}
	}
	return nil
}

// leave ends the node: another one can have its lanes at once.
func (q *Queue) leave() {
	q.mu.Lock()
	node := q.node
	q.node = 0
	q.mu.Unlock()
	if node == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(q.config.Timeout, 5*time.Second))
	defer cancel()
	err := q.inLock(ctx, func(tx *sql.Tx) error {
		var id int64
		err := tx.QueryRowContext(ctx, q.sql(`DELETE FROM "postrider".node WHERE id = $1 RETURNING id`), node).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // another Queue has taken the lanes
		}
		if err != nil {
			return err
		}
		return q.freeLanes(ctx, tx, node, 0)
	})
	if err != nil {
		q.config.Logger.Warn("pgqueue: close: the other Queues get the messages only at the end of the lease",
			"error", err)
	}
}
