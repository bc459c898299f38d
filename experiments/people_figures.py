def save_figures(result, out):
    return []
