package index

import (
	"math"

	"github.com/postrider/postrider/queue"
)

// ReportTask is the num of a report task.
const ReportTask = math.MaxUint32

// report is the report task of a message: a task whose recipients are in parts, one of each settlement with Owed. A
// lease on it is for the parts that there were at its Claim: further ones come behind them. Few messages have one, for
// a minute, so it isn't part of message.
type report[S any] struct {
	task  ref
	parts []Part[S] // never empty
}

// ReportLane returns the lane of the report task of a message that has a task in lane l.
func ReportLane(l queue.Lane) queue.Lane {
	l.Destination = queue.ReportDestination
	return l
}

// Part is a part of a report task. Its Num names it within its message.
type Part[S any] struct {
	Num      uint32
	Due      int64
	Attempts int // of the settlement that stored it
	Deaths   int // likewise
	State    S
}

// due returns when the report task is due, its attempts and its deaths.
func (r *report[S]) due() (due int64, attempts, deaths int) {
	due = Never
	for _, p := range r.parts {
		due, attempts, deaths = min(due, p.Due), max(attempts, p.Attempts), max(deaths, p.Deaths)
	}
	return due, attempts, deaths
}

// Owe adds a part to the report task of a message, which it makes if there is none. It does nothing if there is no such
// message.
func (ix *Index[M, S]) Owe(id uint64, p Part[S]) {
	m := ix.byID.get(id)
	if m == 0 {
		return
	}
	ix.expire()
	if r := ix.reports[id]; r != nil {
		t := ix.Tasks.At(r.task)
		r.parts = append(r.parts, p)
		ix.setReport(r, min(p.Due, t.due), max(p.Attempts, int(t.attempts)), max(p.Deaths, ix.deaths(r.task)))
		return
	}
	last := ix.link(ix.messages.At(m), 0)
	first := ix.Tasks.At(ix.messages.At(m).first)
	lane, keep := ReportLane(ix.nameOf(first.lane)), first.hold
	t := ix.Tasks.add(task[S]{
		due: p.Due, overdue: Never, message: m, lane: ix.join(lane), num: ReportTask, place: -1, oplace: -1,
		attempts: stored(p.Attempts), hold: keep,
	})
	*last = t
	ix.reports[id] = &report[S]{t, []Part[S]{p}}
	ix.messages.chunks[uint32(m-1)/chunkSize].sum.add(ix.destMark(queue.ReportDestination))
	ix.count++
	ix.SetDeaths(t, p.Deaths)
	ix.Put(t)
}

// setReport changes when a report task is due, its attempts and its deaths.
func (ix *Index[M, S]) setReport(r *report[S], due int64, attempts, deaths int) {
	t := ix.Tasks.At(r.task)
	if t.phase != waiting {
		t.due = due
		return
	}
	ix.Take(r.task)
	ix.Change(r.task, due, Never, attempts, t.State)
	ix.SetDeaths(r.task, deaths)
	ix.Put(r.task)
}

// Part returns a part of the report task of a message, nil if there is none with this Num. The pointer is valid until
// the next part is added or removed.
func (ix *Index[M, S]) Part(id uint64, num uint32) *Part[S] {
	if r := ix.reports[id]; r != nil {
		for i := range r.parts {
			if r.parts[i].Num == num {
				return &r.parts[i]
			}
		}
	}
	return nil
}

// Replace changes what is stored of a part that exists.
func (ix *Index[M, S]) Replace(id uint64, p Part[S]) {
	*ix.Part(id, p.Num) = p
	r := ix.reports[id]
	due, attempts, deaths := r.due()
	ix.setReport(r, due, attempts, deaths)
}

// Unowe removes a part, and with the last one the report task, which isn't leased. gone reports whether it was the
// message's last task.
func (ix *Index[M, S]) Unowe(id uint64, num uint32) (gone bool) {
	r := ix.reports[id]
	for i := range r.parts {
		if r.parts[i].Num == num {
			r.parts = append(r.parts[:i:i], r.parts[i+1:]...)
			break
		}
	}
	if len(r.parts) > 0 {
		due, attempts, deaths := r.due()
		ix.setReport(r, due, attempts, deaths)
		return false
	}
	ix.Take(r.task)
	return ix.Drop(r.task)
}

// Reported ends a lease on a report task, and removes the parts that it is for. If stays isn't nil, it takes their
// place. due is when the task is due again, Never if it is removed. gone reports whether it was the message's last.
func (ix *Index[M, S]) Reported(l *Lease, stays *Part[S]) (due int64, gone bool) {
	r := ix.reports[ix.messages.At(ix.Tasks.At(l.Task).message).id]
	added := r.parts[l.parts:]
	alone := len(added) > 0 && ix.only(l.Task)
	r.parts = append([]Part[S](nil), added...)
	if stays != nil {
		r.parts = append(r.parts, *stays)
	}
	if len(r.parts) == 0 {
		return Never, ix.Done(l)
	}
	due, attempts, deaths := r.due()
	if alone {
		due = min(due, ix.now().UnixNano())
	}
	var none S
	ix.SetDeaths(l.Task, deaths)
	ix.Retry(l, due, Never, attempts, none)
	return due, false
}

// only reports whether the task is the only one of its message.
func (ix *Index[M, S]) only(r ref) bool {
	t := ix.Tasks.At(r)
	return t.next == 0 && ix.messages.At(t.message).first == r
}

// Hurry makes the report task of a message due if it is the message's only task. It reports whether the task can be
// claimed earlier now.
func (ix *Index[M, S]) Hurry(id uint64) bool {
	r := ix.reports[id]
	if r == nil || !ix.only(r.task) {
		return false
	}
	t, now := ix.Tasks.At(r.task), ix.now().UnixNano()
	if t.phase != waiting || t.due <= now {
		return false
	}
	ix.Take(r.task)
	t.due = now
	ix.Put(r.task)
	return t.hold == free
}
