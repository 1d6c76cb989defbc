package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// TestSlab adds and frees at random: refs are of their own, values stay, and room is given back.
func TestSlab(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s slab[int]
	want := map[ref]int{}
	var refs []ref
	for i := range 20_000 {
		if r.IntN(5) < 2 && len(refs) > 0 || i > 15_000 && len(refs) > 0 {
			n := r.IntN(len(refs))
			gone := refs[n]
			refs = slices.Delete(refs, n, n+1)
			s.free(gone)
			delete(want, gone)
			continue
		}
		got := s.add(i)
		if _, ok := want[got]; ok || got == 0 {
			t.Fatalf("step %d: got ref %d, which is in use or none", i, got)
		}
		want[got] = i
		refs = append(refs, got)
		if i%100 == 0 {
			for ref, v := range want {
				if *s.At(ref) != v {
					t.Fatalf("step %d: got %d at %d, want %d", i, *s.At(ref), ref, v)
				}
			}
		}
	}
	for _, ref := range refs {
		s.free(ref)
	}
	for i, c := range s.chunks {
		if c != nil {
			t.Errorf("chunk %d wasn't given back", i)
		}
	}
	if got := s.add(1); *s.At(got) != 1 || len(s.chunks) > 20 {
		t.Errorf("got %d chunks after that", len(s.chunks))
	}
}

// TestIndexMany has messages with few and with many tasks, which leave in many orders while report tasks come and go.
func TestIndexMany(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	orders := map[string]func(nums []int){
		"as they come": func([]int) {},
		"backwards":    func(nums []int) { slices.Reverse(nums) },
		"first last":   func(nums []int) { nums[0], nums[len(nums)-1] = nums[len(nums)-1], nums[0] },
		"any":          func(nums []int) { r.Shuffle(len(nums), func(i, j int) { nums[i], nums[j] = nums[j], nums[i] }) },
	}
	for name, order := range orders {
		for _, tasks := range []int{2, manyTasks - 1, manyTasks, 4 * manyTasks} {
			t.Run(fmt.Sprint(name, " ", tasks), func(t *testing.T) {
				ix := New[int, int](nil)
				var dests []string
				var nums []int
				for num := range tasks {
					dests, nums = append(dests, fmt.Sprint("d", num)), append(nums, num)
				}
				ix.Add(waitingFor(1, 0, dests...), 0)
				order(nums)
				for i, num := range nums {
					last := i+1 == tasks
					if ix.Task(1, uint32(tasks)) != 0 || ix.Task(1, uint32(num)) == 0 || ix.Task(2, uint32(num)) != 0 {
						t.Fatal("got a task that there isn't, or not one that there is")
					}
					if i%3 == 0 {
						ix.Owe(1, Part[int]{Num: uint32(i)})
						checkIndex(t, ix)
					}
					r := ix.Task(1, uint32(num))
					ix.Take(r)
					if gone := ix.Drop(r); gone != (last && ix.reports[1] == nil) {
						t.Fatalf("task %d of %d: the message is gone: %v", i, tasks, gone)
					}
					if !last && ix.Task(1, uint32(num)) != 0 {
						t.Fatalf("task %d is found after it is gone", num)
					}
					checkIndex(t, ix)
					if i%3 == 2 || last && ix.reports[1] != nil {
						if gone := ix.Unowe(1, uint32(i-i%3)); gone != last {
							t.Fatalf("part %d: the message is gone: %v", i, gone)
						}
						checkIndex(t, ix)
					}
				}
				if len(ix.byNum) > 0 || ix.count > 0 {
					t.Errorf("got %d tasks, %d of them by num, of an empty index", ix.count, len(ix.byNum))
				}
			})
		}
	}
}

// TestGroup has Initial return the same with and without Group.
func TestGroup(t *testing.T) {
	m, err := NewMessage(queue.Message{
		Envelope:     smtp.NewEnvelope("", "a@x", "b@y", "c@x", "d@z", "e@y", "f@x"),
		Destinations: []string{"x", "y", "x", "z", "y", "x"},
		Body:         strings.NewReader(""),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	grouped := *m
	grouped.Group()
	for num, want := range []string{"[0 2 5]", "[1 4]", "[3]"} {
		plain, fast := m.Initial(uint32(num)), grouped.Initial(uint32(num))
		if got := fmt.Sprint(fast.Recipients); got != want || !reflect.DeepEqual(plain, fast) {
			t.Errorf("%s: got %+v without Group and %+v with it, want %s", m.Dests[num], plain, fast, want)
		}
		fast.Recipients[0] = 9
		if got := fmt.Sprint(grouped.Initial(uint32(num)).Recipients); got != want {
			t.Errorf("%s: got %s after a change of what was returned, want %s", m.Dests[num], got, want)
		}
	}
}

// TestIndexLanes has tasks of many priorities, some of them not due yet, fresh and retried.
func TestIndexLanes(t *testing.T) {
	const soon = int64(time.Minute)
	tests := []struct {
		name  string
		tasks []laneTask // each with the number of its place here
		class queue.Class
		want  []int // from the lane above zero first, and below zero last
	}{
		{"three lanes", []laneTask{{priority: -1}, {priority: 0}, {priority: 1}}, queue.Any, []int{2, 1, 0}},
		{"earliest of a lane", []laneTask{{priority: 1, due: 3}, {priority: 9, due: 2}, {priority: 5, due: 1}}, queue.Any, []int{2, 1, 0}},
		{"one lane of all below zero", []laneTask{{priority: -1, due: 3}, {priority: -9, due: 2}, {priority: -5, due: 1}}, queue.Any, []int{2, 1, 0}},
		{"not due yet", []laneTask{{priority: 9, due: soon}, {priority: 0, due: soon}, {priority: -9}}, queue.Any, []int{2}},
		{"overdue before it is due", []laneTask{{priority: 0}, {priority: 9, due: soon, overdue: 5}}, queue.Any, []int{1, 0}},
		{"fresh and retried in one lane", []laneTask{{priority: 2, due: 2}, {priority: 3, due: 1, attempts: 1}, {priority: 1, due: 3}}, queue.Any, []int{1, 0, 2}},
		{"Fresh", []laneTask{{priority: -1}, {priority: 1, attempts: 1}, {priority: 0}}, queue.Fresh, []int{2, 0}},
		{"Retried", []laneTask{{priority: -1, attempts: 1}, {priority: 1}, {priority: 0, attempts: 1}}, queue.Retried, []int{2, 0}},
		{"Overdue", []laneTask{{priority: 9, overdue: 3}, {priority: 1, overdue: 1}, {priority: 2, overdue: 2}}, queue.Overdue, []int{1, 2, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ix := New[int, int](nil)
			now := time.Now().UnixNano()
			lanes := map[queue.Lane]bool{}
			for i, task := range tt.tasks {
				s := waitingFor(uint64(i), now-1000+task.due, "d")
				s.Priority = task.priority
				if task.overdue != 0 {
					s.Deadline = now - 1000 + task.overdue
				}
				ix.Add(s, 0)
				lanes[s.Lane("d")] = true
				r := ix.Task(uint64(i), 0)
				ix.Take(r)
				ix.Change(r, s.NotBefore, s.Deadline, task.attempts, 0)
				ix.Put(r)
			}
			for i := range tt.tasks { // their lane stays with them
				ix.Hold(uint64(i), "")
				ix.Release(uint64(i))
			}
			checkIndex(t, ix)
			if due := ix.allLanes(); len(due) != len(lanes) {
				t.Errorf("got %+v, want %d lanes", due, len(lanes))
			}
			var got []int
			for range len(tt.tasks) + 1 {
				for _, c := range ix.claimAt("d", 1, tt.class) {
					got = append(got, int(c.ID))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v claimed, want %v", got, tt.want)
			}
			checkIndex(t, ix)
		})
	}
}

// TestIndexOwners has mail of senders and of tenants, which have their own numbers, and of nobody, who has 0.
func TestIndexOwners(t *testing.T) {
	ix := New[int, int](nil)
	var id uint64
	owner := func(from, tenant string) queue.Owner {
		id++
		s := waitingFor(id, 0, "d")
		s.Envelope.From, s.Tenant = from, tenant
		ix.Add(s, 0)
		return s.Owner
	}
	if got := owner("", ""); got != 0 {
		t.Errorf("got owner %d of the null reverse-path, want 0", got)
	}
	const n = 20_000
	same := 0
	for i := range n {
		name := fmt.Sprint("name", i)
		from, tenant := owner(name, ""), owner(name, name)
		if from == 0 || tenant == 0 {
			t.Fatalf("got owners %d and %d of %s, want none that is 0", from, tenant, name)
		}
		if from == tenant {
			same++
		}
		if i%1000 == 0 && (owner(name, "") != from || owner("", name) != tenant) {
			t.Fatalf("got other owners of %s", name)
		}
	}
	if same > 30 { // one or two by chance
		t.Errorf("got %d tenants with the owner of the sender of that name", same)
	}
	checkIndex(t, ix)
	if s := ix.Stats(); s.Destinations != 1 || len(ix.allLanes()) != ix.byLane.count || ix.byLane.count < 25_000 {
		t.Errorf("got %+v in %d lanes", s, ix.byLane.count)
	}
}

// TestIndexSettled remembers the last settlements that succeeded.
func TestIndexSettled(t *testing.T) {
	ix := New[int, int](nil)
	var leases []queue.Lease
	for i := range uint64(maxSettled + 2) {
		ix.Add(waitingFor(i, 0, "d"), 0)
		c := ix.claimAt("d", 1, queue.Any)[0]
		leases = append(leases, c.Lease.Token())
		l, _, err := ix.Find(c.Lease.Token())
		if err != nil {
			t.Fatal(err)
		}
		ix.Begin(l)
		if i%2 == 0 {
			ix.Done(l)
		} else {
			ix.Retry(l, Never-1, Never, 1, 0)
		}
	}
	for i, l := range leases {
		want := queue.ErrSettled
		if i < 2 {
			want = queue.ErrLeaseLost // forgotten
		}
		if _, _, err := ix.Find(l); err != want {
			t.Fatalf("lease %d: got %v, want %v", i, err, want)
		}
		if _, _, err := ix.Extend(l, time.Hour); err != queue.ErrLeaseLost {
			t.Fatalf("Extend of lease %d: got %v, want ErrLeaseLost", i, err)
		}
	}
}

// TestMostAttempts counts attempts up to the most, and no further.
func TestMostAttempts(t *testing.T) {
	for before, want := range map[int]int{
		0: 1, MaxAttempts - 2: MaxAttempts - 1, MaxAttempts - 1: MaxAttempts, MaxAttempts: MaxAttempts, MaxAttempts + 1: MaxAttempts, 1 << 20: MaxAttempts,
	} {
		ix := New[int, int](nil)
		ix.Add(waitingFor(1, 0, "d"), 0)
		r := ix.Task(1, 0)
		ix.Take(r)
		ix.Change(r, 0, Never, before, 0)
		ix.Put(r)
		tasks := ix.claimAt("d", 1, queue.Any)
		if len(tasks) != 1 || tasks[0].Attempts != want {
			t.Errorf("after %d: got %+v, want one task with %d attempts", before, tasks, want)
		}
		checkIndex(t, ix)
	}
}

// laneTask is a task of a test. Its times are in nanoseconds from a microsecond ago.
type laneTask struct {
	priority     int8
	due, overdue int64
	attempts     int
}

// TestIndexMemory holds the index of a Spool to what it may take for each message, in one lane of its destination or in more. A
// lane of one message, with a deadline, costs about 120 octets: 88, a slot in a table, and two heaps of its own.
func TestIndexMemory(t *testing.T) {
	const messages = 100_000
	tests := []struct {
		name       string
		priority   func(i int) int8
		owners     int // of a destination's ten messages
		perMessage int64
	}{
		{"one lane", func(int) int8 { return 0 }, 1, 140},
		{"three priorities", func(i int) int8 { return int8(i%3 - 1) }, 1, 152},
		{"a lane for each message", func(int) int8 { return 0 }, 10, 255},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := heapInUse()
			ix := New[testPlace, testPlace](nil)
			now := time.Now().UnixNano()
			for i := range messages {
				// Ten messages a destination.
				s := waitingFor(uint64(i), now, string(FormatID(uint64(i/10)))+".destination.example")
				s.Deadline, s.Priority = now+int64(i), tt.priority(i)
				s.Tenant = fmt.Sprint(i % 10 % tt.owners)
				ix.Add(s, testPlace{})
			}
			used := heapInUse() - before
			t.Logf("%d octets for each message, %d lanes", used/messages, ix.byLane.count)
			if used/messages > tt.perMessage {
				t.Errorf("got %d octets for each message, want at most %d", used/messages, tt.perMessage)
			}
			runtime.KeepAlive(ix)
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// waitingFor is a message that is to be tried at the time due, and has neither notice nor deadline.
func waitingFor(id uint64, due int64, dests ...string) *Message {
	return &Message{ID: id, NotBefore: due, Notice: Never, Deadline: Never, Dests: dests}
}

// ids and allLanes are all at once, for tests that hold the lock or need none.
func (ix *Index[M, S]) ids() []uint64 {
	var ids []uint64
	for id := range Search(new(sync.Mutex), ix, &Filter{}, func() error { return nil }) {
		ids = append(ids, id)
	}
	return ids
}

func (ix *Index[M, S]) allLanes() (due []queue.LaneDue) {
	for d := range Lanes(new(sync.Mutex), ix, func() error { return nil }) {
		due = append(due, d)
	}
	return due
}

// claimAt claims from the lanes of a destination with mail of nobody, higher priorities first.
func (ix *Index[M, S]) claimAt(destination string, n int, class queue.Class) (tasks []Task[M, S]) {
	for priority := int8(1); priority >= -1; priority-- {
		l := queue.Lane{Destination: destination, Priority: priority}
		got, _ := ix.Claim([]queue.Want{{Lane: l, Max: n - len(tasks), Class: class}}, time.Hour)
		tasks = append(tasks, got...)
	}
	return tasks
}

// testPlace is as large as what a Spool keeps of a message and of a task.
type testPlace [3]uint32

func destName(i int) string { return fmt.Sprintf("d%d.example", i) }

// TestUnsettled has a lease, granted, expired and settled: a claim that expired wasn't settled.
func TestUnsettled(t *testing.T) {
	for _, expires := range []bool{false, true} {
		now := time.Now()
		ix := New[int, int](func() time.Time { return now })
		ix.Add(waitingFor(1, now.UnixNano(), "d"), 0)
		if ix.Unsettled() {
			t.Error("got a claim before there is one")
		}
		tasks := ix.claimAt("d", 1, queue.Any)
		if len(tasks) != 1 || !ix.Unsettled() {
			t.Fatalf("got %d tasks, unsettled: %v, want one", len(tasks), ix.Unsettled())
		}
		if expires {
			now = now.Add(1000 * time.Hour)
			ix.expire()
		} else {
			ix.Begin(tasks[0].Lease)
			ix.Done(tasks[0].Lease)
		}
		if ix.Unsettled() != expires {
			t.Errorf("expired: %v, got unsettled: %v", expires, ix.Unsettled())
		}
	}
}

// TestOweDeaths has the first part of a report task, which says that the process died with it.
func TestOweDeaths(t *testing.T) {
	ix := New[int, int](nil)
	ix.Add(waitingFor(1, 0, "d"), 0)
	ix.Owe(1, Part[int]{Num: 1, Deaths: 2, Attempts: 3})
	tasks := ix.claimAt(queue.ReportDestination, 1, queue.Any)
	if len(tasks) != 1 || tasks[0].Deaths != 2 || tasks[0].Attempts != 4 {
		t.Errorf("got %+v, want one with two deaths, at its fourth attempt", tasks)
	}
	if ix.Settling(2) {
		t.Error("got a settlement of a message that isn't there")
	}
}

// TestSettling has a settlement in progress, and one that has failed.
func TestSettling(t *testing.T) {
	ix := New[int, int](nil)
	if due := ix.Claimable(1); len(due) != 0 || ix.Settling(1) {
		t.Errorf("got %+v claimable, and settling: %v, of a message that isn't there", due, ix.Settling(1))
	}
	ix.Add(waitingFor(1, 0, "d", "e"), 0)
	tasks := ix.claimAt("e", 1, queue.Any)
	if due := ix.Claimable(1); len(due) != 1 || due[0].Destination != "d" || ix.Settling(1) {
		t.Errorf("got %+v claimable, and settling: %v, want d, which isn't leased", due, ix.Settling(1))
	}
	ix.Begin(tasks[0].Lease)
	if !ix.Settling(1) {
		t.Error("got no settlement in progress, want one")
	}
	ix.Done(tasks[0].Lease)
	if ix.Settling(1) {
		t.Error("got a settlement in progress after its end")
	}
}

// TestToNano has the times at the ends of what is stored.
func TestToNano(t *testing.T) {
	date := func(year int) time.Time { return time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC) }
	for year, want := range map[int]int64{
		1: math.MinInt64, 1677: math.MinInt64, 1678: date(1678).UnixNano(), 2261: date(2261).UnixNano(), 2262: Never - 1, 9999: Never - 1,
	} {
		if got := ToNano(date(year)); got != want {
			t.Errorf("year %d: got %d, want %d", year, got, want)
		}
	}
}
