package queuetest

import (
	"bytes"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// moved makes a message whose tasks have all kinds of state, and returns them as they are listed. The message is held.
func (e *env) moved() (id queue.ID, tasks []queue.Task) {
	e.Helper()
	m := message("body", "d.example", "e.example", "e.example", "f.example", "g.example", "later.example")
	m.NoticeAt, m.Deadline, m.Priority = e.now().Add(2*time.Hour), e.now().Add(24*time.Hour), 3
	m.Ref, m.Tenant, m.Origin, m.FromDomain = "ref", "tenant", smtp.OriginAllowed, "from.example"
	m.Envelope.EnvID, m.Envelope.Recipients[1].Notify = "QQ314159", smtp.NotifyFailure
	id = e.enqueue(m)
	done, partly, noticed := e.claimOne("d.example"), e.claimOne("e.example"), e.claimOne("f.example")
	gone := e.claimOne("g.example")
	at := e.now().Add(time.Minute)
	e.settle(done, owe(done, at, false, smtp.Rejected)) // only a report is left
	e.settle(gone, queue.Settlement{})
	deferred := owe(partly, at, true, smtp.Delivered, smtp.Unknown)
	deferred.Next, deferred.Owed = e.now().Add(time.Hour), deferred.Owed[1:]
	e.settle(partly, deferred)
	for range 3 {
		e.settle(noticed, queue.Settlement{Results: results(noticed, smtp.Deferred), Next: e.now(), Noticed: true})
		noticed = e.claimOne("f.example")
	}
	e.settle(noticed, queue.Settlement{Results: results(noticed, smtp.Deferred), Next: e.now().Add(30 * time.Minute)})
	e.sleep(time.Second)
	e.hold(id)
	return id, e.list(queue.Filter{ID: id})
}

// checkImported checks the tasks of an imported message.
func (e *env) checkImported(when string, id queue.ID, state queue.State, want []queue.Task) {
	e.Helper()
	got := e.list(queue.Filter{ID: id})
	if len(got) != len(want) {
		e.Fatalf("Import stores a message with all of its tasks: %s, got %d, want %d", when, len(got), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(t queue.Task) bool { return t.Destination == w.Destination })
		if i < 0 {
			e.Fatalf("Import stores a message with all of its tasks: %s, there is none for %s", when, w.Destination)
		}
		w.ID, w.State, w.Owner = id, state, 0
		if state != queue.Held && e.keepsReasons() {
			w.HeldFor = "" // it was released
		}
		if got[i].Attempts != w.Attempts {
			e.Errorf("Import keeps the attempts: %s, got %d, want %d", when, got[i].Attempts, w.Attempts)
		}
		e.checkTask("Import keeps the state of a task "+when, got[i], w)
	}
	e.checkBody(id, []byte("body"))
}

func (e *env) imports(in queue.Import) queue.ID {
	e.Helper()
	in.Body = newBody([]byte("body"))
	id, repeats, err := e.q.(queue.Importer).Import(e.ctx, in)
	if err != nil || repeats {
		e.Fatalf("Import stores a message: got %s, repeats: %v, and %v", id, repeats, err)
	}
	return id
}

// testImport tests that Import stores a message of another Queue with the state of its tasks.
func testImport(e *env) {
	importer, ok := e.q.(queue.Importer)
	if !ok {
		e.lack("Import", "the Queue is no Importer")
	}
	e.needLister()
	e.needHolder()
	e.needKeyer()
	from, tasks := e.moved()
	if len(tasks) != 4 {
		e.Fatalf("got %d tasks, want those for e.example, f.example, later.example, and the report task", len(tasks))
	}
	former := slices.Clone(tasks)
	for i := range tasks {
		tasks[i].HeldFor = "a check" // from which it was released, before it was held again
	}
	in := queue.Import{Tasks: tasks, Key: "move/" + string(from)}
	held := in
	held.Held, held.Key = true, ""
	kept := e.imports(held)
	e.checkImported("at once", kept, queue.Held, tasks)
	news, stop := e.watch()
	id := e.imports(in)
	for _, t := range tasks {
		news.check(e, "Import", t.Destination, t.Due)
	}
	stop()
	again := in
	again.Body = newBody([]byte("another"))
	if got, repeats, err := importer.Import(e.ctx, again); err != nil || !repeats || got != id {
		e.Errorf("Import of a known Key stores nothing: got %s, repeats: %v, and %v; want %s", got, repeats, err, id)
	}
	check := func(when string) {
		e.checkImported(when, id, queue.Waiting, tasks)
		e.checkImported(when, kept, queue.Held, tasks)
		e.checkImported(when, from, queue.Held, former)
	}
	check("beside others")
	if e.h.Reopen != nil {
		e.reopen()
		check("after a restart")
	}
	if e.h.Kill != nil {
		e.q = e.h.Kill(e.t, e.q)
		e.forgetLanes()
		check("after a crash")
	}

	// It goes on as in its former Queue.
	now := e.claimOne("later.example")
	if now.Attempts != 1 || now.ID != id {
		e.Errorf("an imported task is due at once if it was: got %s", describe(now))
	}
	e.settle(now, queue.Settlement{})
	e.claimNone("f.example", "is due in half an hour")
	e.sleep(time.Minute)
	report := e.claimOne(queue.ReportDestination)
	if len(report.Envelope.Recipients) != 2 || !slices.Equal(report.Delayed, []bool{false, true}) {
		e.Errorf("an imported report task has what is owed: got %s", describe(report))
	}
	e.settle(report, queue.Settlement{})
	e.sleep(30 * time.Minute)
	retried := e.claimOne("f.example")
	if retried.Attempts != 5 || retried.Last[0].Reply == nil || !retried.NoticeAt.IsZero() {
		e.Errorf("an imported task keeps its attempts and results: got %s", describe(retried))
	}
	e.settle(retried, queue.Settlement{})
	e.sleep(24 * time.Hour)
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	e.checkGone("after all of its tasks are settled", id)

	// Only what is to be reported may be left.
	only := tasks[slices.IndexFunc(tasks, func(t queue.Task) bool { return t.Destination == queue.ReportDestination }):]
	alone := e.imports(queue.Import{Tasks: only[:1], Held: true})
	e.checkImported("with a report task alone", alone, queue.Held, only[:1])
	for _, bad := range [][]queue.Task{nil, {tasks[0], tasks[0]}, {{Destination: "x.example"}}} {
		if _, _, err := importer.Import(e.ctx, queue.Import{Tasks: bad, Body: bytes.NewReader(nil)}); err == nil {
			e.Errorf("Import refuses tasks that aren't those of a message: got no error for %d of them", len(bad))
		}
	}
}
