//go:build !amd64

package main

import "golang.org/x/sys/unix"

// foreignKeyctl has no other architecture to call here.
func foreignKeyctl(string) (bool, unix.Errno) { return false, unix.ENOSYS }
