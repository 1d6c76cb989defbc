// Package drain moves the messages of a Queue to another Queue, to take a node out of service or to change the store. A
// node may go on working meanwhile.
//
//	d := &drain.Drain{From: old, To: new, Name: "mx1", Journal: "/var/lib/app/drain"}
//	if err := d.Run(ctx); err != nil {
//		return err // Run again goes on
//	}
//
// Each message is held, stored in To, and removed from From. Its attempts, last results, times and owed reports go
// with it. To delivers it at once, if it is due, while the other messages are still moved. Each of the two can be a
// Queue of any package here.
//
// # The steps
//
// A spool is open in one process only, so the program that uses a spool drains it. A new version of the program does
// these steps in this order, while its old Relay runs without listeners:
//
//  1. It opens the new store, beside the old one.
//  2. It gives the new store to another Relay, which serves the listeners and gets the mail from code. Without a new
//     Relay, it stops the listeners. Run doesn't return while new mail comes to From.
//  3. It calls Run. Attempts of the old Runner that are under way end, and their reports are moved, too.
//  4. It ends the old Relay, whose Runner has nothing to do any more, and closes the old store.
//
// # Nothing twice, nothing lost
//
// A message is removed from From when it is durable in To. If the process ends in between, or the connection to To
// breaks, some messages stay held in From, and To may have them already: don't release or remove them. Their HeldFor
// says so, if From is a queue.ReasonHolder. The next Run stores them again with the same Keys, which To knows: so To
// has each once. To must know the Keys, so repeat Run within the time that To remembers them, 24 hours by default.
//
// The Journal has the messages that Run holds. So messages that an operator held are held in To, and others aren't.
// While Run runs, don't hold or release messages of From.
//
// # What changes
//
// A message gets another ID: log lines and Received fields have the former one. The Keys that From remembers aren't
// moved. A message that is being sent is moved when its attempt has ended.
package drain
