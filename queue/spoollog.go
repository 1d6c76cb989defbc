package queue

import (
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"
)

// spoolLog appends records to the newest segment of a spool. One goroutine writes what is handed over,
// all that waits at a time, another one syncs, so that writing goes on meanwhile; one sync serves all that
// wait for the disk.
type spoolLog struct {
	disk    *disk
	limit   int64         // of a segment, in octets; a record that is larger has one to itself
	delay   time.Duration // after which what nobody waits for is synced
	nextID  func() uint64 // for the header of a new segment
	onSync  func()        // called after each sync; must not block
	running sync.WaitGroup

	mu       sync.Mutex
	queue    []*appending // handed over and not yet written
	unsynced []*appending // written, and waiting for the disk
	segments []*segment   // oldest first; the last is written to
	bytes    int64        // in all segments
	written  uint64       // number of the last record written
	synced   uint64       // number of the last record on the disk
	syncing  bool
	due      bool        // the timer has fired: sync what is written
	timer    *time.Timer // armed while something is written that nobody waits for; else nil
	closing  bool
	err      error     // why nothing can be written any more
	handed   sync.Cond // the writer waits for: queue, closing
	dirty    sync.Cond // the syncer waits for: unsynced, due, closing
	idle     sync.Cond // the writer waits for: !syncing
}

// appending is a record on its way into the log.
type appending struct {
	record  []byte // with room for its header
	durable bool   // done is told when it is on the disk
	done    chan error

	// These are set when done has been told nil. Then applied must be called.
	segment *segment
	off     int64
	seq     uint64
}

// place gives the place of an entry of the record.
func (a *appending) place(off, length int) place {
	return place{a.segment.number, uint32(a.off) + uint32(off), uint32(length)}
}

// start begins with the segments that were found, of which the last is new.
func (l *spoolLog) start(segments []*segment) {
	l.segments = segments
	for _, seg := range segments {
		l.bytes += seg.size
	}
	l.handed.L, l.dirty.L, l.idle.L = &l.mu, &l.mu, &l.mu
	l.running.Go(l.writeLoop)
	l.running.Go(l.syncLoop)
}

// hand puts the record in its place in the order of the log and returns at once; wait then tells what came of it.
func (l *spoolLog) hand(a *appending) {
	startHeader(a.record)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse(); err != nil {
		a.done <- err
		return
	}
	l.queue = append(l.queue, a)
	l.handed.Signal()
}

func (a *appending) wait() error { return <-a.done }

// refuse says why nothing may be written. l.mu is held.
func (l *spoolLog) refuse() error {
	if l.closing {
		return ErrClosed
	}
	return l.err
}

// broken says why nothing can be written any more.
func (l *spoolLog) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuse()
}

func (l *spoolLog) writeLoop() {
	l.mu.Lock()
	for {
		for len(l.queue) == 0 && !l.closing {
			l.handed.Wait()
		}
		if len(l.queue) == 0 {
			break
		}
		batch := l.queue
		l.queue = nil
		l.mu.Unlock()
		for len(batch) > 0 {
			batch = batch[l.writeSome(batch):]
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
}

// writeSome writes the first records of the batch, those that go into one segment, and says how many.
func (l *spoolLog) writeSome(batch []*appending) int {
	l.mu.Lock()
	seg, err := l.segments[len(l.segments)-1], l.err
	off, durable := seg.size, seg.durable
	l.mu.Unlock()
	if err == nil && off > segmentHeaderLen && off+int64(len(batch[0].record)) > l.limit {
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
		if n > 0 && end+int64(len(a.record)) > l.limit {
			break
		}
		a.segment, a.off = seg, end
		finishHeader(a.record, seg.salt, end, durable)
		buffers = append(buffers, a.record)
		end += int64(len(a.record))
		n++
	}
	if err := l.disk.write(seg.file, off, buffers...); err != nil {
		err = l.unwrite(seg, off, err)
		for _, a := range batch[:n] {
			a.done <- err
		}
		return n
	}
	l.publish(seg, end, batch[:n])
	return n
}

// publish tells of what is written.
func (l *spoolLog) publish(seg *segment, end int64, batch []*appending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += end - seg.size
	seg.size = end
	for _, a := range batch {
		l.written++
		a.seq = l.written
		seg.pending++
		if a.durable {
			l.unsynced = append(l.unsynced, a)
			continue
		}
		a.done <- nil
		if l.timer == nil {
			l.timer = time.AfterFunc(l.delay, l.syncSoon)
		}
	}
	if len(l.unsynced) > 0 {
		l.dirty.Signal()
	}
}

// unwrite makes good for a write that failed. A full disk is no reason to give up: what was written in part is
// cut off, and nobody was told that it was there.
func (l *spoolLog) unwrite(seg *segment, off int64, cause error) error {
	if passing(cause) && l.disk.truncate(segmentName(seg.number), off) == nil {
		return cause
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail(cause)
}

// fail poisons the log: what the disk has is unknown from here on. l.mu is held.
func (l *spoolLog) fail(cause error) error {
	if l.err == nil {
		l.err = fmt.Errorf("the spool takes nothing until it is opened again, since its disk failed: %w", cause)
	}
	for _, a := range l.unsynced {
		a.done <- l.err
	}
	l.unsynced = nil
	l.disarm()
	return l.err
}

// doubt poisons the log if err says that something written may be lost, and returns err.
func (l *spoolLog) doubt(err error) error {
	if _, ok := errors.AsType[*syncError](err); !ok {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail(err)
}

// roll begins a new segment. The old one is on the disk before there is a new one.
func (l *spoolLog) roll(old *segment) (*segment, error) {
	if err := l.sync(); err != nil {
		return nil, err
	}
	header := segmentHeader{number: old.number + 1, next: l.nextID(), previous: uint32(old.size)}
	seg, err := createSegment(l.disk, header, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if passing(err) {
			return nil, err
		}
		return nil, l.fail(err)
	}
	l.segments = append(l.segments, seg)
	l.bytes += seg.size
	return seg, nil
}

func (l *spoolLog) syncLoop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closing {
		if len(l.unsynced) == 0 && !l.due {
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
	l.due = true
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
	seg := l.segments[len(l.segments)-1]
	size, seq, waiting := seg.size, l.written, l.unsynced
	l.unsynced, l.syncing = nil, true
	l.mu.Unlock()
	err := l.disk.sync(seg.file)
	l.mu.Lock()
	l.syncing = false
	l.idle.Broadcast()
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

// reached reports whether the record of that number is on the disk.
func (l *spoolLog) reached(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seq <= l.synced
}

// acquire gives the segment of that number, to be released.
func (l *spoolLog) acquire(number uint32) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number >= number })
	seg := l.segments[i]
	seg.refs++
	return seg
}

// applied says that the index has taken in a record.
func (l *spoolLog) applied(a *appending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.segment.pending--
}

// shape tells how large the log is, and which segment is the oldest.
func (l *spoolLog) shape() (oldest uint32, segments int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].number, len(l.segments), l.bytes
}

// oldest gives the segment that goes first. Only the janitor calls it and retire, so that it stays.
func (l *spoolLog) oldest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0]
}

// settled reports whether nothing is written to the segment any more, and the index knows all of it.
func (l *spoolLog) settled(seg *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg != l.segments[len(l.segments)-1] && seg.pending == 0
}

// retire takes the oldest segment out of the log. Who reads it can go on.
func (l *spoolLog) retire(seg *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = l.segments[1:]
	l.bytes -= seg.size
	seg.refs++
	seg.retired = true
	l.unref(seg)
}

// release gives back what acquire gave.
func (l *spoolLog) release(seg *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unref(seg)
}

func (l *spoolLog) unref(seg *segment) {
	if seg.refs--; seg.refs == 0 && seg.retired {
		seg.file.Close()
	}
}

// close writes what was handed over, and that all is on the disk.
func (l *spoolLog) close() error {
	l.mu.Lock()
	l.closing = true
	l.handed.Signal()
	l.dirty.Signal()
	l.mu.Unlock()
	l.running.Wait()
	err := l.sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disarm()
	last := l.segments[len(l.segments)-1]
	if err == nil && last.size > segmentHeaderLen {
		// Without a mark behind the last record, the next to open the spool would write it again.
		mark := make([]byte, recordHeaderLen)
		startHeader(mark)
		finishHeader(mark, last.salt, last.size, last.size)
		err = l.disk.write(last.file, last.size, mark)
	}
	for _, seg := range l.segments {
		seg.refs++
		seg.retired = true
		l.unref(seg)
	}
	return err
}
