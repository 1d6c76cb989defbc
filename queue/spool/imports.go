package spool

import (
	"context"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Import implements [queue.Importer]. The message and the states of its tasks are one record of the log.
func (s *Spool) Import(ctx context.Context, in queue.Import) (id queue.ID, repeats bool, err error) {
	m, err := index.ImportedMessage(&in)
	if err != nil {
		return "", false, s.failed("import", err)
	}
	return s.store(ctx, "import", m, &in)
}

// importedState is the state of a task of an imported message, and where it is in the record. part is the number of the
// part that the report task has.
type importedState struct {
	index.Imported
	part uint32
	at   span
}

// addImported appends the entries of the states behind their message, whose ID is known.
func (d *draft) addImported() {
	for i := range d.imported {
		in, m := &d.imported[i], d.messages[0].Message
		st := &taskState{
			id: m.ID, num: in.Num, done: len(in.Progress.Recipients) == 0,
			attempts: in.Attempts, deaths: in.Deaths, due: in.Due, overdue: in.Overdue, state: *in.Progress,
		}
		if in.Num == index.ReportTask {
			in.part = d.spool.partNumber(m.ID)
			st.num = in.part
		}
		in.at = d.addState(st, m)
	}
}

// takeIn makes the state known. The spool's mu is held.
func (in *importedState) takeIn(d *draft) {
	p := d.place(in.at)
	if len(in.Progress.Recipients) > 0 {
		d.spool.live += int64(p.length)
	}
	d.spool.ix.Imported(d.messages[0].ID, &in.Imported, p, in.part)
}
