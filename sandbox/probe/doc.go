// Package probe tries to break out of a sandbox, and to take more than a build's
// share, and says what succeeded. It owns a catalog of attempts, each with what it
// tries and how success would show, a program that makes one of them from inside
// (package inside), and the judging of what only shows outside: processes, inputs,
// outputs, logs. It never does harm where an attempt succeeds, knows no runner, and
// lets an attempt count as denied only if it was made; every attempt it knows is
// also made where nothing denies it, in its own tests, or is listed there with the
// reason why not.
package probe
