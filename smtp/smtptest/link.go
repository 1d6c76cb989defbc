package smtptest

import (
	"time"
)

// segment is the largest number of octets that arrive at once over a link with a bandwidth: that of a TCP packet on
// Ethernet.
const segment = 1460

// Link sets the latency and the bandwidth of the network path to the host, for new connections. Octets arrive after the
// latency, in each direction, and a dial takes two latencies. The bandwidth is in octets per second, for each
// direction. If zero, there is no latency, or no bound. A latency is at most a year. [Host.Heal] doesn't end it;
// Link(0, 0) does.
func (h *Host) Link(latency time.Duration, bandwidth int64) {
	h.net.t.Helper()
	if latency < 0 || latency > maxLatency || bandwidth < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a link of %v and %d octets a second", h.name, latency, bandwidth)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.link = link{latency, bandwidth}
}

const maxLatency = 365 * 24 * time.Hour

// link is the speed of a network path. The zero link has no latency and no bound.
type link struct {
	latency   time.Duration
	bandwidth int64 // octets a second
}

// way is one direction of a connection over a link: the times at which octets arrive.
type way struct {
	link
	free    time.Time // when the last octet written has been sent
	flights []flight  // in the order of writing
}

// flight is a number of octets that arrive together.
type flight struct {
	octets int
	at     time.Time
}

// send adds n octets.
func (w *way) send(n int) {
	if w.link == (link{}) {
		return
	}
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	most := n
	if w.bandwidth > 0 {
		most = segment
	}
	for n > 0 {
		k := min(n, most)
		if w.bandwidth > 0 {
			w.free = w.free.Add(time.Duration(int64(k) * int64(time.Second) / w.bandwidth))
		}
		w.flights = append(w.flights, flight{k, w.free.Add(w.latency)})
		n -= k
	}
}

// arrived returns how many of the n buffered octets have arrived, and when the next ones arrive. If next is zero, that
// isn't known.
func (w *way) arrived(n int) (there int, next time.Time) {
	if w.link == (link{}) {
		return n, time.Time{}
	}
	now := time.Now()
	for _, f := range w.flights {
		if f.at.After(now) {
			return there, f.at
		}
		there += f.octets
	}
	return there, time.Time{}
}

// take removes n octets that have arrived.
func (w *way) take(n int) {
	for len(w.flights) > 0 && n > 0 {
		f := &w.flights[0]
		k := min(n, f.octets)
		f.octets -= k
		n -= k
		if f.octets == 0 {
			w.flights = w.flights[1:]
		}
	}
}

// end returns the time at which an end of file, written now, arrives.
func (w *way) end() time.Time {
	if w.link == (link{}) {
		return time.Time{}
	}
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	return w.free.Add(w.latency)
}
