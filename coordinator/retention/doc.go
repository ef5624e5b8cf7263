// Package retention removes from the farm's store what nobody has used for so long
// as its owner says: inputs of settled builds above all, which are kept that long
// so that anybody can build them again. It owns the decision when and before which
// use, and nothing else: what is needed it asks, and the store does the removing. It
// never removes what a build under way needs, a result that the state can still
// answer with, or anything of a build that is not in the transparency log yet; and
// where it cannot know what is needed it removes nothing.
package retention
