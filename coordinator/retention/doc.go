// Package retention removes from the farm's store what nobody has used for so long
// as its owner says: inputs of settled builds above all, which are kept that long
// so that anybody can build them again. It owns the decision when and before which
// use, and nothing else: what is needed it asks, and the store does the removing. It
// never removes what a build under way needs or a result that the state can still
// answer with, and where it cannot know what is needed it removes nothing. What the
// transparency log and statements are made of coordinators keep elsewhere: no sweep
// waits for the log, and no log for what was swept.
package retention
