// Package dossier owns the check of one bundle together with all that goes with
// it: the log's proof and checkpoint, the cluster's summary, the statements of who
// built, the transcript, the status list, and of the files in which they lie side by
// side. It never asks a farm, a network or a
// clock, and never says more than it computed: what the reader
// took as given and what is not shown at all is said in words beside what is
// proven. It keeps these invariants: a dossier fails if any part of it contradicts
// another or a rule; a part that is missing fails nothing and is named; and what
// was true at a date is told by the log alone.
package dossier
