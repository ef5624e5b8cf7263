# Makes a program that greets. Output: hello
set -e
echo "building hello"
{
	echo '#!/bin/sh'
	echo "echo 'hello, built on ${HOSTNAME:-somewhere}'"
} > hello
chmod 755 hello
