// Package engine turns an action into a result on this machine: it reads the
// action, prepares the one Spec that everybody runs it with, runs that in a
// sandbox, and lists what came of it as a manifest. It knows no farm, lease or
// key and signs nothing, so that a worker and somebody who checks a worker's
// word at home run the same code. Two calls with the same action, inputs and
// image differ only as far as the build itself does: what is fixed is fixed here
// or in the sandbox, and nowhere else.
package engine
