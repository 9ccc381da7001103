"""Control loops: each watches some kinds of object and makes the cluster look like what they ask for."""
