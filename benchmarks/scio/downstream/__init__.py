"""What does cleaning captions buy downstream? Stage 1 of FUSAR-GPT on what the arms of the proof are trained on."""
