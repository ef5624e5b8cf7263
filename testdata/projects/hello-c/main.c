#include "greet.h"

int main(int argc, char **argv) {
	if (argc < 2)
		greet("world");
	for (int i = 1; i < argc; i++)
		greet(argv[i]);
	return 0;
}
