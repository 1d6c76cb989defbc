package smtp

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Sender sends a message. It is to mail what http.RoundTripper is to requests: client.Transport and client.Submission
// are Senders, a func is one by [SenderFunc], and a wrapper that signs, splits, traces or refuses messages is one too.
//
// The results of Send:
//   - One Result for each recipient, in the order of the envelope. The results decide; an error beside them is for
//     logs.
//   - Nil results and a nil error: every recipient is Delivered. An empty slice that isn't nil has too few results.
//   - No results and an error: the error is the result of every recipient. A *[Reply] in it, found by errors.As,
//     rejects with 5xx and defers with 4xx. Any other error defers, and its text is not shown to the sender of the
//     message.
//   - Fewer results than recipients, or a Result without a Reply that isn't Delivered: the missing ones are Deferred
//     and Local, never Delivered.
//
// A caller applies these rules by [Complete].
//
// If ctx ends before the final dot was sent, Send doesn't send the dot and returns soon. Recipients without an answer
// are then Deferred and Local. Send is called concurrently. It must not change env or c, nor keep them after it has
// returned. A Sender that needs another envelope makes a copy, with a slice of Recipients of its own. [JobOf] returns
// the queued message that ctx belongs to, if there is one. A Sender that may wait for long before it sends can let
// itself be interrupted until then: see [Lend].
type Sender interface {
	Send(ctx context.Context, env *Envelope, c Content) ([]Result, error)
}

// SenderFunc is a func that is a [Sender].
type SenderFunc func(ctx context.Context, env *Envelope, c Content) ([]Result, error)

// Send calls f. If f is nil, that is an error.
func (f SenderFunc) Send(ctx context.Context, env *Envelope, c Content) ([]Result, error) {
	if f == nil {
		return nil, errors.New("smtp: the SenderFunc is nil: set it to a func")
	}
	return f(ctx, env, c)
}

// Complete applies the rules of [Sender] to the results and the error of one Send. It returns one Result for each
// recipient of env, each with a Recipient and a Reply. A result that it makes up has the Reason Other. A
// result with the Reply of a host or a func keeps its Reason, which package replies sets if it is zero.
//
// Results match recipients by position. If they name all recipients of env in another order, they match by name. If one
// of them names a recipient that has another position, only results with a name match. If their numbers differ, a
// Result that names a Recipient matches only that recipient, and one without a name matches the recipient after that of
// the Result before it.
//
// missing counts the recipients without a result beside results of others. It is above zero only for a Sender that
// broke the rules: log it.
//
// Complete doesn't change results. It returns the same slice if nothing has to be filled in or moved, and a copy
// otherwise.
func Complete(env *Envelope, results []Result, err error) (complete []Result, missing int) {
	switch {
	case env == nil:
		return nil, 0
	case results == nil, len(results) == 0 && err != nil:
		return same(env, err), 0
	case len(results) != len(env.Recipients):
		complete = match(env, results)
	default:
		results = inOrder(env, results)
		switch {
		case misplaced(env, results):
			nameless := func(r Result) bool { return r.Recipient == "" }
			complete = match(env, slices.DeleteFunc(slices.Clone(results), nameless))
		case isComplete(results):
			return results, 0
		default:
			complete = slices.Clone(results)
		}
	}
	for i := range complete {
		if complete[i].complete(env.Recipients[i].Address) {
			missing++
		}
	}
	return complete, missing
}

// same returns the result of a Send without results, for each recipient.
func same(env *Envelope, err error) []Result {
	r := Result{Outcome: Delivered, Stage: StageFinal, Reply: delivered(), Local: true}
	if err != nil {
		r.Outcome, r.Reply, r.Reason = Deferred, notDelivered(), Other
		// A positive reply as an error has no meaning.
		if reply, ok := errors.AsType[*Reply](err); ok && reply != nil && reply.Code >= 400 && reply.Code < 600 {
			r.Reply, r.Reason = reply, NoReason
		}
		if r.Reply.Permanent() {
			r.Outcome = Rejected
		}
	}
	results := make([]Result, len(env.Recipients))
	for i := range results {
		results[i] = r
		results[i].Recipient = env.Recipients[i].Address
	}
	return results
}

func isComplete(results []Result) bool {
	for i := range results {
		r := &results[i]
		if r.Recipient == "" || r.Reply == nil || r.hasNoStage() {
			return false
		}
	}
	return true
}

// inOrder returns results in the order of the envelope if they name exactly its recipients, in another order: those of
// a Sender that splits messages, for example. Otherwise it returns results as they are.
func inOrder(env *Envelope, results []Result) []Result {
	sorted := true
	for i := range results {
		if results[i].Recipient == "" {
			return results
		}
		sorted = sorted && results[i].Recipient == env.Recipients[i].Address
	}
	if sorted {
		return results
	}
	open := make(map[string][]int) // by address: the results that have no recipient yet
	for i := range results {
		open[results[i].Recipient] = append(open[results[i].Recipient], i)
	}
	ordered := make([]Result, len(results))
	for i := range env.Recipients {
		address := env.Recipients[i].Address
		if len(open[address]) == 0 {
			return results
		}
		ordered[i], open[address] = results[open[address][0]], open[address][1:]
	}
	return ordered
}

// misplaced reports whether a result has the position of one recipient and the name of another. A name that no
// recipient has is that of a Sender that rewrites addresses.
func misplaced(env *Envelope, results []Result) bool {
	for i := range results {
		name := results[i].Recipient
		if name != "" && name != env.Recipients[i].Address &&
			slices.ContainsFunc(env.Recipients, func(r Recipient) bool { return r.Address == name }) {
			return true
		}
	}
	return false
}

// match assigns results, of which there are too few or too many, to their recipients. A wrong assignment could mark a
// recipient as Delivered whose message was lost. So a result without a name counts only if it is the next one.
func match(env *Envelope, results []Result) []Result {
	placed := make([]Result, len(env.Recipients))
	for i := range placed {
		k := slices.IndexFunc(results, func(r Result) bool { return r.Recipient == env.Recipients[i].Address })
		if len(results) > 0 && results[0].Recipient == "" {
			k = 0
		}
		if k >= 0 {
			placed[i], results = results[k], results[k+1:]
		}
	}
	return placed
}

// complete fills in the empty fields of r. It reports whether r was no result at all.
func (r *Result) complete(recipient string) (missing bool) {
	if r.Recipient == "" {
		r.Recipient = recipient
	}
	if r.Reply == nil {
		r.Stage, r.Local = StageFinal, true
		if r.Outcome == Delivered {
			r.Reply = delivered() // a missing reply is no reason to send it again
		} else {
			missing = true
			r.Outcome, r.Reply = Deferred, notDelivered() // only a reply shows that a rejection is permanent
			r.Reason = cmp.Or(r.Reason, Other)
		}
	}
	if r.hasNoStage() {
		r.Stage = StageFinal
	}
	return missing
}

// hasNoStage reports whether a func left Stage out: while a host is looked for, no host answers.
func (r *Result) hasNoStage() bool {
	return r.Stage == StageRoute && !r.Local && r.Reason == NoReason && r.Outcome != Delivered
}

func delivered() *Reply { return NewReply(250, "2.0.0", "delivered") }

// notDelivered has a text for strangers. The text of an error is for the log only.
func notDelivered() *Reply { return NewReply(451, "4.3.0", "the delivery failed") }
