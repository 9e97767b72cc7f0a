"""maps -> pictures: everything that is drawn, on paper measured in pixels.

scale.py    scores -> colours, and back in numbers
sheet.py    the paper: pictures, colour bars and text at exact places
overlay.py  a picture and its maps, side by side
heads.py    every head of every layer
growth.py   the rollout after every layer, still and as a film
xray.py     one page about a model: positions, filters, heads
page.py     one HTML file to explore, with page.html
curves.py   what the model still says while patches leave
files.py    names, whole files, and nobody else's overwritten
"""
