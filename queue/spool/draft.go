package spool

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// draft is a record that is being made of new messages, and with a settlement of that. The bodies are
// read straight to where they are written from.
type draft struct {
	spool    *Spool
	buf      *[]byte
	record   appending
	messages []draftMessage
	imported []importedState // of the message, if it comes from another Queue
	key      index.Key       // of the message, until it is stored
	keyed    bool            // it has one
	kept     bool            // the log has it, or may have it
	reserved bool            // it is new mail, for which the last of the disk isn't
}

type draftMessage struct {
	*index.Message
	off, length int    // of its entry in the record
	file        string // that has the body; "" where the record has it
}

// maxPooled is the largest buffer that is kept for the next record.
const maxPooled = 512 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// keepBuffer returns a buffer to the pool, unless it has become large.
func keepBuffer(buf *[]byte) {
	if cap(*buf) <= maxPooled {
		buffers.Put(buf)
	}
}

func (s *Spool) newDraft(durable bool) *draft {
	d, ok := s.drafts.Get().(*draft)
	if !ok {
		d = &draft{spool: s, record: appending{done: make(chan error, 1)}}
	}
	d.buf = buffers.Get().(*[]byte)
	d.record.record, d.record.durable = append((*d.buf)[:0], make([]byte, recordHeaderLen)...), durable
	return d
}

// free returns what the draft took: the buffer, unless fresh has it, and the body files, if the log doesn't have them.
// A record that was handed to the log has been waited for. The draft may be used for another record from then on.
func (d *draft) free() {
	if d.buf != nil {
		*d.buf = d.record.record
		keepBuffer(d.buf)
	}
	for _, m := range d.messages {
		if m.file != "" && !d.kept {
			d.spool.fs.discard(m.file)
		}
	}
	clear(d.messages)
	*d = draft{spool: d.spool, messages: d.messages[:0], record: appending{done: d.record.done}}
	d.spool.drafts.Put(d)
}

// add reads a message. in is set if it comes from another Queue.
func (d *draft) add(ctx context.Context, m queue.Message, in *queue.Import) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := index.NewMessage(m, in)
	if err != nil {
		return err
	}
	off := len(d.record.record)
	b := appendMessage(d.record.record, s)
	start := len(b)
	b, err = readUpTo(b, m.Body, d.spool.config.InlineSize+1)
	d.record.record = b
	if err != nil {
		return index.BodyError(err)
	}
	var file string
	if s.Size = int64(len(b) - start); s.Size > int64(d.spool.config.InlineSize) {
		if file, err = d.spill(s, b[start:], m.Body); err != nil {
			return err
		}
		d.record.record = b[:start]
	}
	d.messages = append(d.messages, draftMessage{s, off, len(d.record.record) - off, file})
	return ctx.Err()
}

// readUpTo appends what r gives, at most n octets.
func readUpTo(b []byte, r io.Reader, n int) ([]byte, error) {
	end := len(b) + n
	for empty := 0; len(b) < end; {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(len(b), end-len(b)))
		}
		got, err := r.Read(b[len(b):min(cap(b), end)])
		b = b[:len(b)+got]
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
		if got > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return b, io.ErrNoProgress
		}
	}
	return b, nil
}

// spill puts the body of s into a file of its own, durably: its beginning and what r has yet to give. The
// file has a passing name.
func (d *draft) spill(s *index.Message, beginning []byte, r io.Reader) (name string, err error) {
	temp := d.spool.tempName()
	d.spool.fs.draft(temp)
	f, err := d.spool.fs.Open(temp, true)
	if err != nil {
		d.spool.fs.undraft(temp)
		return "", err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			d.spool.fs.discard(temp)
			err = d.spool.log.doubt(err)
		}
	}()
	s.Size = 0
	for chunk := beginning; len(chunk) > 0; {
		if d.reserved {
			if err := d.spool.checkSpace(len(chunk)); err != nil {
				return "", err
			}
		}
		if err := f.Writev(s.Size, chunk); err != nil {
			return "", err
		}
		s.Size += int64(len(chunk))
		s.Sum = crc32.Update(s.Sum, castagnoli, chunk)
		if chunk, err = readUpTo(beginning[:0], r, len(beginning)); err != nil {
			return "", index.BodyError(err)
		}
	}
	return temp, syncFile(f)
}

// commit numbers the messages, writes the record and returns its error. After that, the index takes the record in, and
// log.applied is called.
func (d *draft) commit() error {
	s := d.spool
	s.arrivals.Lock()
	now := s.ix.Now()
	for _, m := range d.messages {
		s.last++
		for s.strays[s.last] {
			s.last++
		}
		m.Arrive(s.last, now)
	}
	s.arrivals.Unlock()
	for _, m := range d.messages {
		if m.Held { // after the messages: replay holds only what it knows
			d.record.record = appendHoldAsStored(d.record.record, m.ID)
		}
	}
	d.addImported()
	if d.keyed {
		d.key.ID, d.key.At = d.messages[0].ID, index.ToNano(now)
		d.record.record = appendKey(d.record.record, &d.key)
	}
	if len(d.record.record)-recordHeaderLen > maxPayload {
		return errors.New("the record is longer than 1 GiB: send the message to fewer recipients at a time")
	}
	if err := d.nameFiles(); err != nil {
		return s.log.doubt(err)
	}
	for _, m := range d.messages {
		endMessage(d.record.record[m.off:m.off+m.length], m.Message, m.file != "")
	}
	if err := d.hand(); err != nil {
		return err
	}
	err := d.record.wait()
	d.kept = err == nil || errors.Is(err, queue.ErrBroken) || !passing(err) && !errors.Is(err, queue.ErrClosed)
	return err
}

// hand hands the record to the log, which then says whose the body files are.
func (d *draft) hand() error {
	fs := d.spool.fs
	if !slices.ContainsFunc(d.messages, func(m draftMessage) bool { return m.file != "" }) {
		d.spool.log.hand(&d.record)
		return nil
	}
	if err := fs.enter(); err != nil {
		return err
	}
	defer fs.leave()
	if d.spool.log.hand(&d.record) {
		for _, m := range d.messages {
			fs.undraft(m.file)
		}
	}
	return nil
}

// nameFiles renames the body files to their names for good.
func (d *draft) nameFiles() error {
	named := false
	for i := range d.messages {
		m := &d.messages[i]
		if m.file == "" {
			continue
		}
		name := bodyName(m.ID)
		d.spool.fs.draft(name)
		if err := d.spool.fs.Rename(m.file, name); err != nil {
			d.spool.fs.undraft(name)
			return err
		}
		d.spool.fs.undraft(m.file)
		m.file, named = name, true
	}
	if !named {
		return nil
	}
	return syncNames(d.spool.fs)
}

// addReports reads the reports of what is being recorded.
func (d *draft) addReports(ctx context.Context, reports []queue.Message) error {
	for _, m := range reports {
		err := d.add(ctx, m, nil)
		if m.Key != "" {
			err = index.ErrReportKey
		}
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}
