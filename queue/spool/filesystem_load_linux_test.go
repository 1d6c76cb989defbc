package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// load enqueues and settles until an operation fails.
func (c *crasher) load(worker int, rng *rand.Rand) {
	full := false
	for n, ending := 0, false; !ending; n++ {
		ending = c.ending.Load() // one more operation is begun after that
		c.mu.Lock()
		full = full || c.there > crashFull
		c.mu.Unlock()
		did, err := false, error(nil)
		if full || worker >= 8 {
			did, err = c.settle(rng, full)
		}
		full = false
		if !did && err == nil {
			err = c.enqueue(fmt.Sprintf("m%d.%d.%d", c.crashes, worker, n), crashDestination(rng))
		}
		if full = errors.Is(err, syscall.ENOSPC); err == nil || full {
			continue
		}
		if !c.crashing.Load() {
			c.t.Errorf("before crash %d: %v", c.crashes, err)
		}
		return
	}
}

// told has f note what an operation that has succeeded means, unless it may have ended after the crash: a sync that
// the crash overtakes may claim to have succeeded, on ext4 and on xfs, but nobody would have lived to hear of it.
func (c *crasher) told(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.crashing.Load() {
		f()
	}
}

func (c *crasher) enqueue(name, dest string) error {
	m, k := crashMessage(name, dest), &known{}
	large := m.Body.(*bytes.Reader).Len() > crashInline
	c.begin(name, k)
	_, err := c.spool.Enqueue(c.t.Context(), m)
	if err == nil {
		c.told(func() {
			k.keep() // others may have seen and settled it by now
			c.there++
			c.counts.Acknowledged++
			if large {
				c.counts.Large++
			}
		})
	}
	return err
}

func (c *crasher) begin(name string, k *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[name] = k
}

// settle settles what is due at a destination, if there is something.
func (c *crasher) settle(rng *rand.Rand, full bool) (did bool, err error) {
	var wants []queue.Want
	for d := range c.spool.Lanes(c.t.Context()) {
		if d.Destination == crashDestination(rng) {
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 4})
		}
	}
	tasks, err := c.spool.Claim(c.t.Context(), wants, time.Hour)
	for i := 0; i < len(tasks) && err == nil; i++ {
		err = c.settleTask(tasks[i], rng, full)
	}
	return len(tasks) > 0, err
}

func (c *crasher) settleTask(task queue.Task, rng *rand.Rand, full bool) error {
	name, report := task.Ref, &known{}
	origin, isReport := strings.CutSuffix(name, "-report")
	set, before, after := queue.Settlement{}, leaving, left
	switch n := rng.IntN(10); {
	case n < 1 || n < 4 && !full:
		before, after = kept, kept
		result := smtp.Result{Recipient: task.Envelope.Recipients[0].Address, Reply: smtp.NewReply(450, "", "later")}
		set = queue.Settlement{Next: time.Now(), Results: []smtp.Result{result}}
	case n < 7 && !isReport:
		before, after = either, replaced
		c.begin(name+"-report", report)
		set.Reports = []queue.Message{crashMessage(name+"-report", crashDestination(rng))}
	}
	var k *known
	c.told(func() {
		k = c.known[name]
		k.fate, k.report = before, name+"-report"
		if of := c.known[origin]; isReport && of != nil {
			of.fate = replaced // who sees the report may rely on the settlement, before the one who settled hears of it
		}
	})
	if k == nil {
		return nil
	}
	err := c.spool.Settle(c.t.Context(), task.Lease, set)
	if err == nil {
		c.told(func() {
			if after == kept {
				c.counts.Deferred++ // and another may be settling it by now
				return
			}
			k.fate, k.settled = after, time.Now()
			report.keep()
			switch after {
			case replaced:
				c.counts.WithReport++
			case left:
				c.there--
			}
			c.counts.Settled++
		})
	}
	return err
}
