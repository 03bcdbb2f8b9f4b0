# SPDX-License-Identifier: GPL-2.0
#
# Plots what measure.py measured: touch on the left, free on the right. It sets
# data, the file that has a block for each line; lines, their number; kinds, the
# number of lines for one kernel; image and arch.

set terminal svg size 1100,520 dynamic background rgb "white" font "sans-serif,12"
set output image
set multiplot layout 1,2 title arch.": one thread, medians" noenhanced
set logscale x 2
set logscale y 10
set ylabel "ns a page"
set format x "%.0b %BB"
set xtics 4
set grid
set key below noenhanced samplen 2 font ",9"

# Each kernel has its own kind of point, each kind of memory its own colour.
colour(i) = word("#c0392b #2471a3 #7f8c8d", int(i) % kinds + 1)
point(i) = int(i) / kinds * 2 + 5

set title "touch, by size of the file"
plot for [i=0:lines-1] data index i using 1:2 with linespoints \
	linecolor rgb colour(i) pointtype point(i) title columnheader(1)
set title "munmap() and close(), by size of the file"
plot for [i=0:lines-1] data index i using 1:3 with linespoints \
	linecolor rgb colour(i) pointtype point(i) title columnheader(1)
unset multiplot
