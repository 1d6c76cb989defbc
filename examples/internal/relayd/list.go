package relayd

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/postrider/postrider/queue"
)

// PrintQueue prints a line for each recipient.
func PrintQueue(ctx context.Context, q interface {
	queue.Queue
	queue.Lister
}) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tARRIVED\tNEXT TRY\tTRIES\tSIZE\tFROM\tTO\tLAST RESULT, OR WHY IT IS HELD")
	for t, err := range q.List(ctx, queue.Filter{}) {
		if err != nil {
			return err
		}
		why := queue.HeldFor(q, &t)
		for i, rcpt := range t.Envelope.Recipients {
			last := ""
			switch {
			case why != "":
				last = "held: " + why
			case t.Last[i].Reply != nil:
				last = t.Last[i].Reply.Error()
			}
			fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\t%d\t<%s>\t<%s>\t%s\n", t.ID, t.State, t.Arrival.Format(time.DateTime),
				t.Due.Format(time.DateTime), t.Attempts, t.Size, t.Envelope.From, rcpt.Address, last)
		}
	}
	return w.Flush()
}
