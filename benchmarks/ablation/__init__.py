"""Does the prior help, and is it the modulation that makes it? Every fusion and training order from one backbone."""
