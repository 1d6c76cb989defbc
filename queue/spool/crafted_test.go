package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// TestCrafted opens directories that are drawn from seeds, as somebody may craft them who knows the format: the entries
// are of all kinds, about few messages, in any order, and the checksums are right. Some have hints that lie, damage, or
// files that nothing made. It may refuse them. Otherwise all that can be asked of the spool ends without a panic and
// takes little memory. What is in the spool at its end is there when it is opened again, with its attempts and deaths,
// unless there was damage or a lie. POSTRIDER_CRAFTED is how many directories there are, and POSTRIDER_SEED the first.
func TestCrafted(t *testing.T) {
	quiet(t)
	n, first := 500, 1
	for name, value := range map[string]*int{"POSTRIDER_CRAFTED": &n, "POSTRIDER_SEED": &first} {
		if s := os.Getenv(name); s != "" {
			var err error
			if *value, err = strconv.Atoi(s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	opened, compared, tasks, dead, parts := 0, 0, 0, 0, 0
	for seed := range n {
		c := &crafter{Rand: rand.New(rand.NewPCG(uint64(first+seed), 1))}
		files := c.directory()
		got, exact, err := useCrafted(t, c, files)
		if err != nil || t.Failed() {
			t.Fatalf("seed %d: %v", first+seed, err)
		}
		if got != nil {
			opened++
		}
		if exact {
			compared++
		}
		for _, task := range got {
			tasks++
			if task.Deaths > 0 {
				dead++
			}
			if task.Destination == queue.ReportDestination {
				parts++
			}
		}
	}
	t.Logf("%d of %d directories were opened, and %d compared, with %d tasks, of which %d had deaths, and %d report tasks",
		opened, n, compared, tasks, dead, parts)
	if opened < n/2 || compared < n/4 || n >= 100 && (tasks < n || dead < n/20 || parts < n/20) {
		t.Error("got too few that can be opened, or too little in them")
	}
}

// useCrafted opens a directory, uses the spool and opens it again. It returns the tasks that it had at first, nil if it
// was refused, and whether those at the end had to be there when it was opened again.
func useCrafted(t *testing.T, c *crafter, files map[string][]byte) (found []queue.Task, exact bool, err error) {
	t.Helper()
	disk := crashfs.New[File](files)
	before, allocated := disk.Sum(), allocatedOctets()
	s, err := openSpool(disk, "memory", fixtureOptions)
	if err != nil {
		if disk.Sum() != before {
			return nil, false, fmt.Errorf("the directory was changed, and the error is %w", err)
		}
		return nil, false, nil
	}
	// The drawn files have some 10 KiB.
	if took, most := allocatedOctets()-allocated, uint64(8<<20); took > most {
		t.Errorf("Open: got %d octets allocated, want %d at most", took, most)
	}
	found = readableTasks(s)
	found = slices.Grow(found, 1) // not nil
	useAll(t, s)
	s.Claim(context.Background(), allWants(t, s), time.Hour) // and leave them
	checkLiveOf(t, s)
	want := expectedTasks(s, 0)
	exact = c.honest && len(s.Damage()) == 0
	if c.IntN(2) == 0 {
		want = expectedTasks(s, 1)
		after := disk.After("killed", nil)
		s.Close()
		disk = after
	} else if err := s.Close(); err != nil {
		return found, exact, err
	}
	s, err = openSpool(disk, "memory", fixtureOptions)
	if isUnknown(err) && !c.honest { // a hint that is gone by now left it out
		return found, false, nil
	} else if err != nil {
		return found, exact, fmt.Errorf("it was opened, and can't be again: %w", err)
	}
	checkLiveOf(t, s)
	if got := expectedTasks(s, 0); exact && !slices.Equal(got, want) {
		t.Errorf("opened again: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	useAll(t, s)
	return found, exact, s.Close()
}

// checkLiveOf is checkLive when the janitor has nothing under way.
func checkLiveOf(t *testing.T, s *Spool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var live int64
	for _, id := range indexed(s.ix) {
		live += int64((*s.ix.Data(id)).length)
		for _, c := range s.ix.TasksOf(id) {
			live += int64(c.State.length)
			for _, part := range c.Parts {
				live += int64(part.State.length)
			}
		}
	}
	if live != s.live {
		t.Errorf("the spool counts %d octets, want %d", s.live, live)
	}
}

func readableTasks(s *Spool) (tasks []queue.Task) {
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err == nil {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// expectedTasks describes the tasks as they are after another start. A lease is a death then, or ends in peace.
func expectedTasks(s *Spool, deaths int) (lines []string) {
	for _, task := range readableTasks(s) {
		if task.State == queue.Leased {
			task.Deaths = min(task.Deaths+deaths, index.MaxAttempts)
		}
		held := s.ix.Held(mustParseID(task.ID))
		var to []string
		for i, rcpt := range task.Envelope.Recipients {
			to = append(to, fmt.Sprint(rcpt.Address, " ", task.Last[i].Outcome, " ", task.Delayed != nil && task.Delayed[i]))
		}
		slices.Sort(to) // parts that are moved change their order
		lines = append(lines, fmt.Sprint(task.ID, " ", task.Destination, ": ", task.Attempts, " attempts, ", task.Deaths, " deaths, held: ", held, " ", to))
	}
	return lines
}

func mustParseID(id queue.ID) uint64 {
	n, ok := index.ParseID(id)
	if !ok {
		panic("no ID: " + id)
	}
	return n
}

func allocatedOctets() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// crafter draws a directory.
type crafter struct {
	*rand.Rand
	messages []*index.Message // that were drawn, by their IDs from 1
	written  map[uint64]bool  // those of them that are in the directory
	honest   bool             // there is no damage, and no lie about other parts of the directory
}

func (c *crafter) chance(of int) bool { return c.IntN(of) == 0 }

// lies is chance for what isn't honest.
func (c *crafter) lies(of int) bool { return !c.honest && c.chance(of) }

// directory draws segments, and hints of all but the last.
func (c *crafter) directory() map[string][]byte {
	c.honest, c.written = c.chance(2), map[uint64]bool{}
	for id := range 1 + c.IntN(5) {
		c.messages = append(c.messages, c.message(uint64(id+1)))
	}
	files := map[string][]byte{}
	segments := 1 + c.IntN(4)
	h := segmentHeader{next: 1}
	for n := range segments {
		h.number = uint32(n + 1)
		h.next = 100
		if c.lies(10) {
			h.next = 1 + c.number(10)
		}
		if n > 0 {
			h.before = salt{1, 2, 3, byte(n)}
		}
		b := c.segment(h)
		if n+1 < segments && c.chance(2) {
			files[hintName(h.number)] = c.hint(b)
		}
		h.previous = uint32(len(b) - recordHeaderLen) // without the mark of a Close
		if c.lies(20) {
			h.previous = uint32(c.IntN(len(b) + 10))
		}
		if c.lies(20) { // after the hint was made
			b[c.IntN(len(b))] ^= byte(1 << c.IntN(8))
		}
		if c.lies(30) {
			b = b[:c.IntN(len(b))]
		}
		if !c.lies(40) {
			files[segmentName(h.number)] = b
		}
	}
	for _, name := range []string{bodyName(1), bodyName(2), bodyName(9), "1.body.tmp", "notes", rosterName, segmentName(9) + spareSuffix} {
		if c.lies(30) {
			files[name] = bytes.Repeat([]byte{byte(c.IntN(256))}, c.IntN(3000))
		}
	}
	return files
}

// segment draws the octets of a segment. At its end is the mark of a Close.
func (c *crafter) segment(h segmentHeader) []byte {
	h.salt = salt{1, 2, 3, byte(h.number)}
	b := h.encode()
	add := func(payload []byte) {
		durable := int64(len(b))
		if c.lies(40) {
			durable = int64(c.IntN(len(b) + 1))
		}
		record := append(make([]byte, recordHeaderLen), payload...)
		startHeader(record)
		finishHeader(record, h.salt, int64(len(b)), durable)
		b = append(b, record...)
	}
	for range 1 + c.IntN(6) {
		var payload []byte
		for range 1 + c.IntN(6) {
			payload = append(payload, c.entry()...)
		}
		add(payload)
	}
	add(nil)
	return b
}

// hint draws the hint of a segment: the right one, or one of other entries.
func (c *crafter) hint(seg []byte) []byte {
	var items []byte
	if !c.lies(4) {
		sc := scanner{r: bytes.NewReader(seg), salt: salt(seg[32:40])}
		sc.scan(segmentHeaderLen, int64(len(seg)), func(rec record) error {
			return eachEntry(rec.payload, func(off int, entry []byte) error {
				h, fields, _ := entryFields(entry)
				items = binary.LittleEndian.AppendUint32(items, rec.entryAt(&segment{}, off, h).off)
				items = append(items, entry[:entryHeaderLen+len(fields)]...)
				return nil
			})
		})
		return fuzzHint(seg, items)
	}
	for range 1 + c.IntN(8) {
		at := uint32(c.IntN(len(seg)))
		if c.chance(5) {
			at = c.Uint32()
		}
		entry := c.entry()
		h, _ := decodeEntryHeader(entry)
		items = append(binary.LittleEndian.AppendUint32(items, at), entry[:min(len(entry), entryHeaderLen+int(h.fields))]...)
	}
	return fuzzHint(seg, items)
}

// message draws a message. Some have many destinations.
func (c *crafter) message(id uint64) *index.Message {
	m := fullStored()
	m.ID, m.NotBefore, m.Deadline, m.Arrival = id, 0, index.Never, int64(c.Uint64()>>1)
	m.Envelope.Recipients, m.Dests, m.Dest = nil, nil, nil
	dests := 1 + c.IntN(4)
	if c.chance(20) {
		dests = wideDests + c.IntN(20)
	}
	for num := range dests {
		m.Dests = append(m.Dests, fmt.Sprintf("d%d.example", num))
		for range 1 + c.IntN(2) {
			m.Envelope.Recipients = append(m.Envelope.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@d%d.example", len(m.Dest), num)})
			m.Dest = append(m.Dest, uint32(num))
		}
	}
	if c.chance(10) {
		m.Dests[c.IntN(dests)] = queue.ReportDestination // of an older program
	}
	if c.chance(10) {
		m.Dest[c.IntN(len(m.Dest))] = uint32(c.IntN(dests)) // a task may have no recipient then
	}
	return m
}

// number draws one that is small, or one that is as large as it can be.
func (c *crafter) number(small int) uint64 {
	switch c.IntN(12) {
	case 0:
		return math.MaxUint64 >> c.IntN(64)
	case 1:
		return math.MaxUint16 + uint64(c.IntN(2))
	case 2:
		return maxID
	}
	return uint64(c.IntN(small))
}

// num draws the number of a task of the message, for a claim also that of the report task, and for a state that of a
// part; or one that nothing has.
func (c *crafter) num(m *index.Message, claim bool) uint32 {
	switch {
	case c.lies(6):
		return []uint32{uint32(len(m.Dests)), partBit - 1, partBit | maxPart, partBit | (maxPart - 1), index.ReportTask, partBit, c.Uint32()}[c.IntN(7)]
	case c.chance(3) && claim:
		return index.ReportTask
	case c.chance(3):
		return partBit | uint32(c.IntN(4))
	}
	return uint32(c.IntN(len(m.Dests)))
}

// entry draws an entry.
func (c *crafter) entry() []byte {
	m := c.messages[c.IntN(len(c.messages))]
	var b []byte
	kind := c.IntN(10)
	if kind < 3 && c.written[m.ID] && !c.lies(20) { // a copy comes with all that is known of the message
		kind = 3 + c.IntN(7)
	}
	switch kind {
	case 0, 1, 2:
		b = c.messageEntry(m)
		c.written[m.ID] = true
	case 3, 4:
		b = appendState(nil, c.state(m), m)
	case 5:
		if b = appendRelease(nil, m.ID); c.chance(2) {
			b = appendHoldAsStored(nil, m.ID)
		}
	case 6:
		if b = appendHold(nil, m.ID, []string{"", "a reason"}[c.IntN(2)]); c.chance(4) {
			b = appendRemoval(nil, m.ID)
		}
	case 7, 8:
		b = appendClaim(nil, claimed{m.ID, c.num(m, true), int(c.number(5) >> 1), int(c.number(4) >> 1), !c.chance(4)})
	case 9:
		b = appendEnd(nil, c.chance(2))
	}
	if h, err := decodeEntryHeader(b); err == nil && h.fields > 0 && c.lies(15) { // one field, or kind, of another value
		at := entryHeaderLen + c.IntN(int(h.fields))
		if c.chance(4) {
			at = 0
		}
		b[at] = byte(c.IntN(256))
		binary.LittleEndian.PutUint32(b[16:], entryChecksum(b, int(h.fields)))
	}
	return b
}

func (c *crafter) messageEntry(m *index.Message) []byte {
	body := strings.Repeat("x", c.IntN(300))
	copied := *m
	copied.Size = int64(len(body))
	if c.chance(10) { // in a file
		copied.Size, copied.Sum = int64(c.number(3000)%maxBody), c.Uint32()
		b := appendMessage(nil, &copied)
		endMessage(b, &copied, true)
		return b
	}
	b := append(appendMessage(nil, &copied), body...)
	endMessage(b, &copied, false)
	return b
}

// state draws the state of a task, or of a part of a report task.
func (c *crafter) state(m *index.Message) *taskState {
	st := &taskState{
		id: m.ID, num: c.num(m, false), done: c.chance(4), attempts: int(c.number(5) >> 1), deaths: int(c.number(4) >> 1),
		due: index.AtOnce, overdue: index.Never,
	}
	if c.chance(3) {
		st.due = time.Now().UnixNano() + int64(c.IntN(int(time.Hour)))
	}
	if c.chance(10) {
		st.due, st.overdue = int64(c.Uint64()), int64(c.Uint64())
	}
	for i := range m.Dest {
		if !isPart(st.num) && m.Dest[i] != st.num && !c.chance(50) || isPart(st.num) && c.chance(2) {
			continue
		}
		st.state.Recipients = append(st.state.Recipients, i)
		st.state.Last = append(st.state.Last, smtp.Result{
			Recipient: m.Envelope.Recipients[i].Address, Outcome: smtp.Outcome(c.IntN(5)), Reply: smtp.NewReply(450, "4.4.1", "later"),
		})
		st.state.Delayed = append(st.state.Delayed, c.chance(2))
	}
	return st
}
