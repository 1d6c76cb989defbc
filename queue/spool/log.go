package spool

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// spoolLog appends records to the newest segment of a spool. One goroutine writes what is handed over,
// all that waits at a time, and another one syncs, so that what doesn't wait for the disk, and much at a time that
// does, is written meanwhile. One sync serves all that is written.
type spoolLog struct {
	fs      FS
	dir     string        // for errors
	limit   int64         // of a segment, in octets; a record that is larger has one to itself
	delay   time.Duration // after which what nobody waits for is synced
	nextID  func() uint64 // for the header of a new segment
	onSync  func()        // called after each sync; must not block
	onRoll  func()        // called when a segment has been begun; must not block
	onFail  func()        // called when nothing can be written any more; must not block
	running sync.WaitGroup

	// These are read without mu, too.
	segments atomic.Pointer[[]*segment] // replaced as a whole
	bytes    atomic.Int64               // in all segments
	stopped  atomic.Pointer[error]      // what refuse says

	mu       sync.Mutex
	queue    []*appending // handed over and not yet written
	queued   int          // octets in it
	hurried  bool         // one of it doesn't wait for the disk
	unsynced []*appending // written, and waiting for the disk
	spare    *spareFile   // to become the next segment; nil: there is none
	written  uint64       // number of the last record written
	synced   uint64       // number of the last record on the disk
	syncing  bool
	owed     bool        // what was queued when a sync ended is written before the next
	due      bool        // the timer has fired: sync what is written
	timer    *time.Timer // armed while something is written that nobody waits for; else nil
	closing  bool
	err      error     // why nothing can be written any more
	handed   sync.Cond // the writer waits for: queue, !syncing, closing
	dirty    sync.Cond // the syncer waits for: unsynced, due, !owed, closing
	idle     sync.Cond // the writer and the syncer wait for: !syncing
}

// start begins with the segments that were found, of which the last is new.
func (l *spoolLog) start(segments []*segment) {
	l.setAll(segments)
	for _, seg := range segments {
		seg.refs.Store(1)
		l.bytes.Add(seg.size)
	}
	l.handed.L, l.dirty.L, l.idle.L = &l.mu, &l.mu, &l.mu
	l.running.Go(l.writeLoop)
	l.running.Go(l.syncLoop)
}

// hand puts the record in its place in the order of the log and returns at once; its wait then tells what came of it.
// It reports whether the record is taken, and may be in the log.
func (l *spoolLog) hand(a *appending) (taken bool) {
	startHeader(a.record)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse(); err != nil {
		a.done <- err
		return false
	}
	l.queue = append(l.queue, a)
	l.queued += len(a.record)
	l.hurried = l.hurried || !a.durable
	l.handed.Signal()
	return true
}

func (l *spoolLog) writeLoop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.closing && !l.worthwhile() {
			l.handed.Wait()
		}
		l.mu.Unlock()
		// Those whose records the last sync took to the disk run first, so that what they bring next comes along.
		runtime.Gosched()
		l.mu.Lock()
		if len(l.queue) == 0 {
			return // it is closing
		}
		batch := l.queue
		l.queue, l.queued, l.hurried = nil, 0, false
		l.mu.Unlock()
		for len(batch) > 0 {
			batch = batch[l.writeSome(batch):]
		}
		l.mu.Lock()
		l.owed = false
		l.dirty.Signal()
	}
}

// worthwhile reports whether to write now. What waits for the disk can't get there before the sync under
// way has ended, and one write of many records takes far less time than many writes. l.mu is held.
func (l *spoolLog) worthwhile() bool {
	const enough = 256 << 10
	return len(l.queue) > 0 && (!l.syncing || l.hurried || l.queued >= enough)
}

// writeSome writes the first records of the batch, those that go into one segment, and says how many.
func (l *spoolLog) writeSome(batch []*appending) int {
	l.mu.Lock()
	seg, err := l.last(), l.err
	off, durable := seg.size, seg.durable
	l.mu.Unlock()
	if err == nil && off > segmentHeaderLen && (batch[0].roll || off+int64(len(batch[0].record)) > l.limit) {
		if seg, err = l.roll(seg); err == nil {
			off, durable = segmentHeaderLen, segmentHeaderLen
		}
	}
	if err != nil {
		batch[0].done <- err
		return 1
	}
	n, end := 0, off
	buffers := make([][]byte, 0, len(batch))
	for _, a := range batch {
		if n > 0 && (a.roll || end+int64(len(a.record)) > l.limit) {
			break
		}
		a.segment, a.off = seg, end
		finishHeader(a.record, seg.salt, end, durable)
		buffers = append(buffers, a.record)
		end += int64(len(a.record))
		n++
	}
	if err := seg.file.Writev(off, buffers...); err != nil {
		err = l.unwrite(seg, off, err)
		for _, a := range batch[:n] {
			a.done <- err
		}
		return n
	}
	l.fill(seg, off, end)
	l.publish(seg, end, batch[:n])
	return n
}

// fill writes zeros behind what was written from off to end, if the file ends there and little is written at a time:
// the next syncs take two thirds of their time when the file has its length and its blocks already. Where much is
// written, that would cost more than it gives.
func (l *spoolLog) fill(seg *segment, off, end int64) {
	const ahead, little = 1 << 20, 32 << 10
	to := min(end+ahead, l.limit)
	if seg.filled = max(seg.filled, end); seg.filled > end || end-off > little || to <= end {
		return
	}
	if seg.file.Writev(end, zeros[:to-end]) != nil {
		seg.filled = l.limit // it does without: what matters is written
		return
	}
	seg.filled = to
}

var zeros [1 << 20]byte

// trim cuts off what fill has put behind the last record. It needs no sync: should the zeros come back, they are no
// record.
func (seg *segment) trim() {
	if seg.filled > seg.size && seg.file.Truncate(seg.size) == nil {
		seg.filled = seg.size
	}
}

// publish tells of what is written.
func (l *spoolLog) publish(seg *segment, end int64, batch []*appending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes.Add(end - seg.size)
	seg.size = end
	for _, a := range batch {
		if l.err != nil { // a sync has failed meanwhile
			a.done <- l.err
			continue
		}
		l.written++
		a.seq = l.written
		seg.pending.Add(1)
		if a.durable {
			l.unsynced = append(l.unsynced, a)
			continue
		}
		a.done <- nil
		if l.timer == nil {
			l.timer = time.AfterFunc(l.delay, l.syncSoon)
		}
	}
}

// unwrite makes good for a write that failed. A full disk is no reason to give up: what was written in part is
// cut off, and nobody was told that it was there.
func (l *spoolLog) unwrite(seg *segment, off int64, cause error) error {
	cause = seg.failed("write", cause)
	if passing(cause) {
		err := l.cut(seg, off)
		if err == nil {
			return cause
		}
		cause = fmt.Errorf("%w; truncate after it: %w", cause, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail(cause)
}

// cut cuts the segment's file to a length, durably. No sync is under way meanwhile: of two, one alone may be told that
// it failed.
func (l *spoolLog) cut(seg *segment, size int64) error {
	l.mu.Lock()
	for l.syncing {
		l.idle.Wait()
	}
	l.syncing = true
	l.mu.Unlock()
	err := seg.file.Truncate(size)
	if err == nil {
		err = syncFile(seg.file)
	}
	seg.filled = size
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncing = false
	l.idle.Broadcast()
	return err
}

// roll begins a new segment. The old one is on the disk before there is a new one.
func (l *spoolLog) roll(old *segment) (*segment, error) {
	if err := l.sync(); err != nil {
		return nil, err
	}
	old.trim()
	header := segmentHeader{number: old.number + 1, next: l.nextID(), previous: uint32(old.size), before: old.salt}
	seg, err := createSegment(l.fs, header, nil, l.takeSpare())
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if passing(err) {
			return nil, err
		}
		return nil, l.fail(err)
	}
	seg.refs.Store(1)
	l.setAll(append(l.all(), seg))
	l.bytes.Add(seg.size)
	l.onRoll()
	return seg, nil
}

func (l *spoolLog) syncLoop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closing {
		if len(l.unsynced) == 0 && !l.due || l.owed {
			l.dirty.Wait()
			continue
		}
		l.mu.Unlock()
		l.sync()
		l.mu.Lock()
	}
}

// syncSoon is called by the timer.
func (l *spoolLog) syncSoon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due, l.timer = true, nil
	l.dirty.Signal()
}

// sync returns when all that is written now is on the disk.
func (l *spoolLog) sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.syncing {
		l.idle.Wait()
	}
	l.due = false
	if l.err != nil || l.synced == l.written {
		return l.err
	}
	seg := l.last()
	size, seq, waiting := seg.size, l.written, l.unsynced
	l.unsynced, l.syncing = nil, true
	l.mu.Unlock()
	err := seg.failed("sync", syncFile(seg.file))
	l.mu.Lock()
	l.syncing, l.owed = false, len(l.queue) > 0
	l.idle.Broadcast()
	l.handed.Signal()
	if err != nil || l.err != nil {
		l.unsynced = append(waiting, l.unsynced...)
		return l.fail(err)
	}
	seg.durable, l.synced = size, seq
	for _, a := range waiting {
		a.done <- nil
	}
	if l.synced == l.written {
		l.disarm()
	}
	l.onSync()
	return nil
}

func (l *spoolLog) disarm() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.due = false
}

// newest returns the number of the last record that is written.
func (l *spoolLog) newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// reached reports whether the record of that number is on the disk.
func (l *spoolLog) reached(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seq <= l.synced
}

// close writes what was handed over, and that all is on the disk. payload is that of the last record, which isn't
// synced.
func (l *spoolLog) close(payload []byte) error {
	l.mu.Lock()
	l.closing = true
	l.stop()
	l.handed.Signal()
	l.dirty.Signal()
	l.mu.Unlock()
	l.running.Wait()
	err := l.sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disarm()
	last := l.last()
	if err == nil && last.size > segmentHeaderLen {
		// Without a mark behind the last record, the next to open the spool writes it once more, which does no harm.
		// Without its payload, that all leases have ended, the tasks that are leased now have a death more then.
		// Neither is worth an error.
		mark := append(make([]byte, recordHeaderLen), payload...)
		startHeader(mark)
		finishHeader(mark, last.salt, last.size, last.size)
		last.file.Writev(last.size, mark)
		last.size += int64(len(mark))
	}
	if err == nil {
		last.trim()
	}
	for _, seg := range l.all() {
		seg.release()
	}
	if l.spare != nil {
		l.spare.remove(l.fs)
	}
	return err
}
