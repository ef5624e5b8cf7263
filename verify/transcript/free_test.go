package transcript_test

// Reasons why one build's record cannot show that a field was changed. In every case
// the entries of the log determine it, and an audit that replays them finds it.
const (
	ticks     = "a farm time: what happened when is the ticks' to say; order and least distances are held, and what a time decides is found"
	registry  = "as its owner declared it: the commands that registered and admitted it are in the log, and nothing of this build follows from it"
	counter   = "a count over the whole farm, or of changes to the record; nothing of the build follows from it"
	sentence  = "a sentence for a person; the rules never read it"
	unordered = "order of arrival, which the rules leave out of account"
	epochs    = "follows from all asks and builds of the epoch, or from the draws of tickets: the report names it as not checked"
	hidden    = "was never opened: what it hid does not exist outside the farm"
	author    = "its author's word under its author's signature, which the provenance bundle is checked for"
)

// free lists the fields of which the judge does not find every change, each with the
// reason. A field that it does find entirely has no place here.
var free = map[string]string{
	"Build.Attempts[].AssignedAt":        ticks,
	"Build.Attempts[].BoundUntil":        "of an uploader: " + ticks,
	"Build.Attempts[].CommittedAt":       ticks,
	"Build.Attempts[].LeaseUntil":        "heartbeats renew it, and are not in the record; " + ticks,
	"Build.Attempts[].StartedAt":         ticks,
	"Build.OpenedAt":                     ticks,
	"Build.SettledAt":                    ticks,
	"Build.SubmittedAt":                  ticks,
	"Build.VerdictAt":                    ticks,
	"Build.NotBefore":                    "of the queue; " + ticks,
	"WallMillis":                         "the leader's clock, informative",
	"Build.Attempts[].Class":             registry,
	"Parties[].Class":                    registry,
	"Parties[].Machine":                  "in a pool of operators: " + registry,
	"Parties[].Name":                     registry,
	"Parties[].Operator":                 "the requester's, and in a pool of machines: " + registry,
	"Build.Operator":                     "the requester's when it submitted, and it may have changed: " + registry,
	"Build.Sequence":                     counter,
	"Build.SettledOrder":                 counter,
	"Build.Version":                      counter,
	"Build.AuctionNumber":                "of a build that ended in the queue, or was allotted: auctions that came to nothing leave nothing",
	"Build.Dispatched":                   "of a build that ended in the queue: whether its turn had come decides nothing",
	"Build.BiddingDone":                  "of a build that was cancelled: whether the window was over decides nothing",
	"Build.Reason":                       sentence,
	"Build.Contest.Reason":               sentence,
	"Build.Bids":                         "a bid that lost and was left out: the log has it, and whoever made it has a receipt",
	"Build.Bids swapped":                 unordered,
	"Build.Draws swapped":                unordered,
	"Build.Transfers swapped":            "fines of seats in the order of their silence, which is " + unordered,
	"Build.Attempts[].Seat":              "of a panel that ran out of names: which of the silent seats the last ones replaced decides nothing",
	"Build.Attempts[].State":             "of a forger's recheck: opened or found to match nothing, it is slashed either way",
	"Build.Attempts[].Stored":            "of a result that was not delivered, kept to explain the difference: nothing is paid for it",
	"Build.Attempts[].Commitment":        hidden,
	"Build.Attempts[].Opening.Signature": author,
	"Build.Eligible[].Domain":            "where nothing was drawn from the set, or not from this part of it",
	"Build.Eligible[].Worker":            "where nothing was drawn from the set, or not from this part of it",
	"Build.Epoch":                        epochs,
	"Build.Price":                        "in a batch pool: " + epochs,
	"Build.Share":                        "where it was not paid: " + epochs,
	"Build.Slot":                         epochs,
	"Build.Transfers[].Amount":           "what the treasury had to pay back to a challenger: the report names it as not checked",
}
