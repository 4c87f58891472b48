# Keeps the lines that it gets, and prints the value of each STATE.
tee "$1" | sed -u -n 's/^{"type":"STATE","value":\(.*\)}$/\1/p'
