package pgqueue

import (
	"context"
	"database/sql"
	"iter"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// listPage is how many messages List reads at a time.
const listPage = 200

// List implements [queue.Lister]. It yields the tasks of all Queues on the schema. It reads the messages from the
// tables, a few hundred at a time, and applies the Filter to them: one that selects little of a long queue takes as
// long as one that selects all, except for an ID. A message that goes to another Queue meanwhile is neither missed nor
// yielded twice. One that is stored meanwhile may be missed.
func (q *Queue) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		parsed, err := index.NewFilter(f)
		if err != nil {
			yield(queue.Task{}, failed("list", err))
			return
		}
		after, _ := index.ParseID(f.After)
		for {
			if err := q.begin(ctx); err != nil {
				yield(queue.Task{}, err)
				return
			}
			page, more, err := q.readPage(ctx, f, after)
			if err != nil {
				yield(queue.Task{}, failed("list", err))
				return
			}
			for _, s := range page {
				after = s.msg.ID
				if !parsed.MatchesMessage(s.msg) {
					continue
				}
				tasks, err := q.tasksOf(ctx, s)
				if err != nil {
					yield(queue.Task{}, failed("list", err))
					return
				}
				for _, t := range tasks {
					if selects(&f, &t) && parsed.MatchesTask(&t) && !yield(t, nil) {
						return
					}
				}
				if err := q.begin(ctx); err != nil {
					yield(queue.Task{}, err)
					return
				}
			}
			if after = max(after, more); more == 0 {
				return
			}
		}
	}
}

// selects compares the fields of f that are about a task itself.
func selects(f *queue.Filter, t *queue.Task) bool {
	return (f.Destination == "" || t.Destination == f.Destination) && (f.State == 0 || t.State == f.State)
}

// readPage reads the next messages after an ID. more is the last ID that was looked at, 0 at the end.
func (q *Queue) readPage(ctx context.Context, f queue.Filter, after uint64) (page []*stored, more uint64, err error) {
	id, known := parseID(f.ID)
	switch {
	case f.ID != "" && (!known || id <= after), after > maxID:
		return nil, 0, nil
	}
	err = q.inSnapshot(ctx, func(tx *sql.Tx) error {
		ids := []uint64{id}
		if f.ID == "" {
			ids, err = q.readIDs(ctx, tx, `SELECT id FROM "postrider".msg m WHERE id > $1
				AND `+isThere+` ORDER BY id LIMIT $2`, int64(after), listPage)
			if err != nil {
				return err
			}
			if len(ids) == listPage {
				more = ids[len(ids)-1]
			}
		}
		page, err = q.readStored(ctx, tx, ofIDs, arrayOf(ids))
		return err
	})
	return page, more, err
}

// tasksOf returns the tasks of a message: as ix has them with what the tables have or, if it is another Queue's, as the
// tables have them.
func (q *Queue) tasksOf(ctx context.Context, s *stored) ([]queue.Task, error) {
	for range 3 {
		tasks, ok := q.described(s, false)
		if ok {
			return tasks, nil
		}
		// A settlement came between the reading and ix, or is about to come.
		var err error
		if s, err = q.readOne(ctx, s.msg.ID); s == nil {
			return nil, err
		}
	}
	tasks, _ := q.described(s, true) // with what could be read
	return tasks, nil
}

// readOne reads a message, nil if it is gone.
func (q *Queue) readOne(ctx context.Context, id uint64) (s *stored, err error) {
	err = q.inSnapshot(ctx, func(tx *sql.Tx) error {
		all, err := q.readStored(ctx, tx, ofIDs, arrayOf([]uint64{id}))
		if len(all) > 0 {
			s = all[0]
		}
		return err
	})
	return s, err
}

// described returns the tasks of a message that was read. If ix is of another time, it returns false, unless it must.
func (q *Queue) described(s *stored, must bool) (tasks []queue.Task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.time()
	if q.ix.Data(s.msg.ID) != nil {
		for _, c := range q.ix.TasksOf(s.msg.ID) {
			if !must && !s.agrees(&c) {
				return nil, false
			}
			var task queue.Task
			c.Fill(&task, s.msg, s.before(&c), now)
			task.HeldFor = s.why
			tasks = append(tasks, task)
		}
		return tasks, true
	}
	left := s.left()
	owner := q.owner(s.msg)
	for _, t := range left {
		task := queue.Task{
			ID: index.FormatID(s.msg.ID), Destination: s.destination(t), Owner: owner,
			State: s.stateOf(t, now.UnixNano()), Only: len(left) == 1, Attempts: t.attempts, Deaths: t.deaths,
		}
		if t.due != index.AtOnce {
			task.Due = index.FromNano(t.due)
		}
		s.msg.Fill(&task, s.progress(t), now)
		task.HeldFor = s.why
		tasks = append(tasks, task)
	}
	return tasks, true
}
