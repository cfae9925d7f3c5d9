"""Images and texts as vectors of one space: scenes and folders embedded, searched by words, classified by labels."""
