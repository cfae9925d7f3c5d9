"""The Space: a web demo of FUSAR-GPT, also started by `fusargpt demo`."""
