// Tiny prints the first primes. It imports nothing, so that little is compiled.
package main

func main() {
	for n := 2; n < 100; n++ {
		if prime(n) {
			println(n)
		}
	}
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}
