"""What a person types: each module is one command of `tandem`, imported when it is called."""
