package delivery

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestSlowForOne has attempts of one owner take long at a site that is quick for others: mail of theirs is fast there,
// the owner's isn't, then and when it comes back. For five owners, it is slow for all.
func TestSlowForOne(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	kinds := func() (k [7]kind) {
		for n := range k {
			l := queue.Lane{Destination: "a", Owner: queue.Owner(n)}
			m.wake(l, now, now)
			k[n] = m.targets[l].party.kind(2)
		}
		return k
	}
	kinds()
	for n := range 5 {
		for range 2 {
			f, _ := claim(m, taskOf(queue.Lane{Destination: "a", Owner: queue.Owner(n)}, 1), now)
			now = now.Add(2 * tooLong)
			m.pick(0, now)
			m.done(f, verdict{}, time.Time{}, now)
		}
		got := kinds()
		for i, k := range got {
			if want := map[bool]kind{true: dull, false: fast}[i <= n || n == 4]; k != want {
				t.Errorf("slow for owners 0 to %d: got kind %d for owner %d, want %d", n, k, i, want)
			}
		}
	}
}
