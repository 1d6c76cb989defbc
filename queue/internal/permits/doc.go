// Package permits is how the Runners of a store share a limit: the records that they keep in the store, see
// queue.Sharer, and who may have how much of each. All of it is plain values. A Runner reads the records of one
// transaction, changes them with the methods of this package, and writes them back.
//
// # The invariant
//
// The permits that all members have of a limit are never more than the limit, however many members come, go, stop or
// die, and whatever clocks do:
//
//   - A member has at least the permits that it uses: it lowers its use before it writes a lower number, and uses more
//     only when a higher number is written.
//   - A member may use its permits for Hold after the begin of its last write that succeeded, by its own monotonic
//     clock. What is under way after that is cut off.
//   - A member that hasn't written for Dead, by the monotonic clock of another one, is removed, and its permits are
//     free. A member that finds itself removed has none. No clock is compared with another one.
//
// So permits of a member that dies are free after Dead, and no later than Dead after the others look.
package permits
