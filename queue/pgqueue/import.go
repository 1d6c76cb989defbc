package pgqueue

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Import implements [queue.Importer]. The message and the states of its tasks are one commit. If the connection is
// lost during the commit of a message without a Key, Import returns an error although the message may have been stored.
func (q *Queue) Import(ctx context.Context, in queue.Import) (id queue.ID, repeats bool, err error) {
	m, err := index.ImportedMessage(&in)
	if err != nil {
		return "", false, failed("import", err)
	}
	return q.enqueueOnce(ctx, "import", m, &in)
}

// importedOutcomes returns outcomes that bring the tasks of a message, whose ID isn't known yet, to the state that they
// have in another Queue. Tasks that are as the message arrived have none.
func importedOutcomes(m *index.Message, in *queue.Import) (outcomes []outcomeRow) {
	var owed *partRecord
	states := m.Import(in)
	for i := range states {
		if st := &states[i]; st.Num == index.ReportTask {
			owed = recordOfPart(&part{
				Num: importedPart, Due: st.Due, Attempts: st.Attempts, Deaths: st.Deaths, State: st.Progress,
			}, m)
		}
	}
	for i := range states {
		st := &states[i]
		if st.Num == index.ReportTask || owed == nil && asArrived(st, m) {
			continue
		}
		r := &eventRecord{Num: st.Num, Overdue: index.Never, Part: owed, Imported: true}
		owed = nil
		if r.Done = len(st.Progress.Recipients) == 0; !r.Done {
			r.Due, r.Overdue, r.Attempts, r.Deaths = st.Due, moment(st.Overdue), st.Attempts, st.Deaths
			r.State, r.Version = recordOf(st.Progress, m), 1
		}
		outcomes = append(outcomes, outcomeRow{Kind: settled, Data: r})
	}
	return outcomes
}

// importedPart is the number of the part that the report task of an imported message has.
const importedPart = 1

// asArrived reports whether a task was never attempted.
func asArrived(st *index.Imported, m *index.Message) bool {
	return st.Attempts == 0 && st.Deaths == 0 && st.Due == m.NotBefore && st.Overdue == m.Overdue(false) &&
		reflect.DeepEqual(st.Progress, m.Initial(st.Num))
}

// insertOutcomes stores the outcomes of a draft in the transaction that has stored its message.
func (q *Queue) insertOutcomes(ctx context.Context, row Row, id uint64, d *draft) error {
	for i := range d.outcomes {
		d.outcomes[i].ID, d.outcomes[i].Lane = id, q.laneOf(d.Message)
	}
	text, err := json.Marshal(d.outcomes)
	if err != nil {
		return err
	}
	var n int
	return row(ctx, q.sql(outcomesSQL+` RETURNING 1`), []any{string(text)}, &n)
}
