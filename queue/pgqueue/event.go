package pgqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// These are the kinds of outcomes. A number is never used again.
const (
	settled  = 1 // a task; a settlement of it, with what it adds to the report task
	reported = 2 // a report task
	held     = 3 // a message
	released = 4 // a message
	removed  = 5 // a message
	flushed  = 6 // tasks of a message
)

// event is a row of outcome or of mark, or of a message that is to be stored.
type event struct {
	seq  int64
	id   uint64
	lane int
	kind int // 0: it is a mark
	last bool
	data []byte // of an outcome

	num              uint32 // these are of a mark
	attempts, deaths int
	until            int64 // 0: the lease has ended
}

// eventRecord is the column data of outcome.
type eventRecord struct {
	At       int64           `json:"at,omitempty"`  // when it happened
	Num      uint32          `json:"num,omitempty"` // of the task
	Done     bool            `json:"done,omitempty"`
	Imported bool            `json:"imported,omitempty"` // as it was in another Queue
	Due      int64           `json:"due,omitempty"`      // index.AtOnce if left out
	Overdue  moment          `json:"overdue,omitzero"`
	Attempts int             `json:"attempts,omitempty"`
	Deaths   int             `json:"deaths,omitempty"`
	State    *progressRecord `json:"state,omitempty"`
	Version  version         `json:"version,omitempty"` // of State
	Part     *partRecord     `json:"part,omitempty"`    // that is added to the report task
	Parts    []uint32        `json:"parts,omitempty"`   // of the report task, that are settled
	Nums     []uint32        `json:"nums,omitempty"`    // of the tasks that are flushed
	HeldFor  text            `json:"heldFor,omitzero"`  // of a hold
}

// partRecord is a part of a report task.
type partRecord struct {
	Num      uint32          `json:"num"`
	Due      int64           `json:"due,omitempty"`
	Attempts int             `json:"attempts,omitempty"`
	Deaths   int             `json:"deaths,omitempty"`
	State    *progressRecord `json:"state"`
}

type part = index.Part[*index.Progress]

func recordOfPart(p *part, m *index.Message) *partRecord {
	return &partRecord{p.Num, p.Due, p.Attempts, p.Deaths, recordOf(p.State, m)}
}

// mergeParts returns the Progress of a report task.
func mergeParts(parts []part) *index.Progress {
	states := make([]*index.Progress, len(parts))
	for i, p := range parts {
		states[i] = p.State
	}
	return index.Merge(states)
}

// stored is a message as the tables have it: its row with its outcomes and marks.
type stored struct {
	msg    *index.Message
	tasks  []*storedTask // by num, nil if it is gone
	report *storedTask   // nil: there is none
	parts  []part        // of it, never empty
	held   bool
	why    string // the HeldFor of its tasks
	gone   bool
	head   head // if it is to be in memory
	entry  bool // only what ix needs is read: msg has no recipients, and no task or part its st
}

// storedTask is a task as the tables have it.
type storedTask struct {
	num              uint32
	due, overdue     int64
	attempts, deaths int
	until            int64           // of the lease; 0: there is none
	st               *index.Progress // nil: as the message arrived
	version          version         // of st
	changed          bool            // it isn't as the message arrived
}

// isFresh reports whether the message is due and wasn't tried yet.
func (s *stored) isFresh(now time.Time) bool {
	return !s.held && s.msg.NotBefore <= now.UnixNano() &&
		!slices.ContainsFunc(s.left(), func(t *storedTask) bool { return t.changed })
}

func newStored(m *index.Message) *stored {
	s := &stored{msg: m, tasks: make([]*storedTask, len(m.Dests)), held: m.Held}
	if m.Held {
		s.why = m.HeldFor
	}
	for num := range s.tasks {
		s.tasks[num] = &storedTask{num: uint32(num), due: m.NotBefore, overdue: m.Overdue(false)}
	}
	return s
}

// apply takes in what happened. The events of a message must come in the order of their seq.
func (s *stored) apply(e *event) error {
	if e.kind == 0 {
		s.mark(e)
		return nil
	}
	if e.last { // it may have no data
		s.gone = true
		return nil
	}
	r, err := s.decode(e.data)
	if err != nil {
		return fmt.Errorf("outcome %d: %w", e.seq, err)
	}
	switch e.kind {
	case settled:
		err = s.settled(r)
	case reported:
		err = s.reported(r)
	case held:
		if s.held = true; r.HeldFor != "" {
			s.why = string(r.HeldFor)
		}
	case released:
		s.release(r.At)
	case flushed:
		for _, num := range r.Nums {
			if t := s.task(num); t != nil {
				t.due, t.changed = index.AtOnce, true
			}
		}
	}
	if err != nil {
		return fmt.Errorf("outcome %d: %w", e.seq, err)
	}
	return nil
}

// decode reads the data of an outcome.
func (s *stored) decode(data []byte) (r *eventRecord, err error) {
	light := struct {
		eventRecord
		State skipped `json:"state"`
	}{eventRecord: eventRecord{Overdue: index.Never}}
	r = &light.eventRecord
	switch {
	case data == nil:
	case s.entry:
		err = json.Unmarshal(data, &light)
	default:
		err = json.Unmarshal(data, r)
	}
	return r, err
}

// task returns a task that is left, nil if there is none with this num.
func (s *stored) task(num uint32) *storedTask {
	switch {
	case num == index.ReportTask:
		return s.report
	case int64(num) < int64(len(s.tasks)):
		return s.tasks[num]
	}
	return nil
}

func (s *stored) mark(e *event) {
	if t := s.task(e.num); t != nil {
		t.attempts, t.deaths, t.until, t.changed = e.attempts, e.deaths, e.until, true
	}
}

// release ends a hold. Tasks that are leased then keep their deaths.
func (s *stored) release(at int64) {
	if !s.held {
		return
	}
	s.held, s.why = false, ""
	for _, t := range s.left() {
		if t.until <= at && t.deaths > 0 {
			t.deaths, t.changed = 0, true
		}
	}
}

func (s *stored) settled(r *eventRecord) error {
	t := s.task(r.Num)
	if t == nil || r.Num == index.ReportTask {
		return fmt.Errorf("task %d isn't there", r.Num)
	}
	if r.Part != nil {
		p, err := s.part(r.Part)
		if err != nil {
			return err
		}
		s.owe(p)
	}
	if r.Done {
		s.tasks[r.Num] = nil
		if t := s.report; t != nil && t.until == 0 && len(s.left()) == 1 && !r.Imported {
			t.due = min(t.due, r.At)
		}
		return nil
	}
	st, err := s.state(r.State, false)
	if err != nil {
		return fmt.Errorf("task %d: %w", r.Num, err)
	}
	*t = storedTask{
		num: r.Num, due: r.Due, overdue: int64(r.Overdue), attempts: r.Attempts, deaths: r.Deaths, st: st,
		version: max(1, r.Version), changed: true,
	}
	return nil
}

// part reads a part of the report task.
func (s *stored) part(p *partRecord) (part, error) {
	st, err := s.state(p.State, true)
	return part{Num: p.Num, Due: p.Due, Attempts: p.Attempts, Deaths: p.Deaths, State: st}, err
}

// state reads the state of a task, or of a part.
func (s *stored) state(r *progressRecord, part bool) (*index.Progress, error) {
	switch {
	case s.entry:
		return nil, nil
	case r == nil:
		return nil, errors.New("there is no state")
	}
	return r.progress(s.msg, part)
}

// owe adds a part to the report task, as index.Owe does.
func (s *stored) owe(p part) {
	s.parts = append(s.parts, p)
	if s.report == nil {
		s.report = &storedTask{
			num: index.ReportTask, due: p.Due, overdue: index.Never, attempts: p.Attempts, deaths: p.Deaths,
		}
		return
	}
	s.report.due = min(s.report.due, p.Due)
}

// reported ends a lease on the report task, as index.Reported does.
func (s *stored) reported(r *eventRecord) error {
	if s.report == nil {
		return fmt.Errorf("the report task isn't there")
	}
	over := map[uint32]bool{}
	for _, num := range r.Parts {
		over[num] = true
	}
	var parts []part
	for _, p := range s.parts {
		if !over[p.Num] {
			parts = append(parts, p)
		}
	}
	alone := len(parts) > 0 && len(s.left()) == 1
	if r.Part != nil {
		p, err := s.part(r.Part)
		if err != nil {
			return err
		}
		parts = append(parts, p)
	}
	s.parts, s.report = nil, nil
	if len(parts) == 0 {
		return nil
	}
	t := &storedTask{num: index.ReportTask, due: index.Never, overdue: index.Never}
	for _, p := range parts {
		t.due, t.attempts, t.deaths = min(t.due, p.Due), max(t.attempts, p.Attempts), max(t.deaths, p.Deaths)
	}
	if alone {
		t.due = min(t.due, r.At)
	}
	s.parts, s.report = parts, t
	return nil
}

// left returns the tasks that are left, the report task as the last.
func (s *stored) left() (tasks []*storedTask) {
	for _, t := range s.tasks {
		if t != nil {
			tasks = append(tasks, t)
		}
	}
	if s.report != nil {
		tasks = append(tasks, s.report)
	}
	return tasks
}

// stateOf returns the State of a task at a time of the queue.
func (s *stored) stateOf(t *storedTask, now int64) queue.State {
	switch {
	case t.until > now:
		return queue.Leased
	case s.held:
		return queue.Held
	}
	return queue.Waiting
}

// progress returns the Progress of a task.
func (s *stored) progress(t *storedTask) *index.Progress {
	switch {
	case t.num == index.ReportTask:
		return mergeParts(s.parts)
	case t.st == nil:
		return s.msg.Initial(t.num)
	}
	return t.st
}

// destination returns the name of a task's destination.
func (s *stored) destination(t *storedTask) string {
	if t.num == index.ReportTask {
		return queue.ReportDestination
	}
	return s.msg.Dests[t.num]
}

type (
	tasks = index.Index[entry, version]
	claim = index.Task[entry, version]
)

// load adds the message to an index. No task of it is leased.
func (s *stored) load(ix *tasks) {
	s.msg.Held = s.held
	ix.Add(s.msg, entryOf(s.msg))
	for i := range s.parts {
		ix.Owe(s.msg.ID, *light(&s.parts[i]))
	}
	for num, t := range s.tasks {
		r := ix.Task(s.msg.ID, uint32(num))
		switch {
		case t == nil:
			ix.Take(r)
			ix.Drop(r)
		case t.changed:
			ix.Take(r)
			ix.Change(r, t.due, t.overdue, t.attempts, t.version)
			ix.SetDeaths(r, t.deaths)
			ix.Put(r)
		}
	}
	if t := s.report; t != nil {
		r := ix.Task(s.msg.ID, index.ReportTask)
		ix.Take(r)
		ix.Change(r, t.due, index.Never, t.attempts, 0)
		ix.SetDeaths(r, t.deaths)
		ix.Put(r)
	}
}
